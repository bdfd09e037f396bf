//! COPY, ADD and WORKDIR, executed: what the layers hold.
//!
//! Nothing is run and nothing is mounted, so these tests need no rights.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod model; // copies at random

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use kiln_cache::{
    Actions, Blake3, Definition, Fate, Image, Journal, Kind, LayerId, Platform, Sha256, Store,
    Timestamp,
};
use kiln_parser::mount::FileOwner;
use kiln_parser::{IgnoreRules, parse};
use kiln_runtime::{Cancel, EtcFile, ExecError, Executor, Job, Network, Outcome, Resources};
use kiln_snapshotter::{BuildError, Layer, LayerStore, ParentView, Snapshotter, Writable};
use kiln_solver::{
    AgentSocket, Agents, Ahead, AllowedDevices, BaseError, BaseRequest, Bases, Beginning,
    BringError, CacheMounts, Context, ContextId, Deps, Identity, Layers, LayersError, PlanOptions,
    Remote, RemoteError, Remotes, Reporter, Reuse, RunSurroundings, ScannedContext, Silent,
    Solution, SolveError, Vertex, context_reads, plan, solve,
};

#[derive(Debug)]
struct Nothing;

impl Bases for Nothing {
    fn resolve(&self, _: &[BaseRequest]) -> Vec<Result<Image, BaseError>> {
        unreachable!("these builds start from scratch")
    }
}

impl Layers for Nothing {
    fn layers(&self, _: Sha256) -> Result<Vec<Layer>, LayersError> {
        unreachable!("these builds start from scratch")
    }

    fn are_here(&self, _: Sha256) -> bool {
        unreachable!("these builds start from scratch")
    }

    fn bring(&self, _: &[LayerId]) -> Result<Vec<Layer>, BringError> {
        unreachable!("these builds have their layers here")
    }
}

impl Remotes for Nothing {
    fn identify(&self, _: &Remote, _: &Vertex<'_>, _: &Cancel) -> Result<Identity, RemoteError> {
        unreachable!("these builds fetch nothing")
    }

    fn fetch(
        &self,
        _: &Remote,
        _: &Identity,
        _: &Vertex<'_>,
        _: &Cancel,
    ) -> Result<Layer, RemoteError> {
        unreachable!("these builds fetch nothing")
    }
}

impl Agents for Nothing {
    fn open(&self, _: &str, _: FileOwner) -> std::io::Result<Option<Box<dyn AgentSocket>>> {
        unreachable!("these builds run nothing")
    }
}

impl CacheMounts for Nothing {
    fn begin(&self, _: Blake3, _: &Path) -> std::io::Result<Beginning> {
        unreachable!("these builds run nothing")
    }
}

impl Executor for Nothing {
    fn run(
        &self,
        _: &Job,
        _: &mut dyn kiln_runtime::Output,
        _: &Cancel,
    ) -> Result<Outcome, ExecError> {
        unreachable!("these builds run nothing")
    }
}

impl Snapshotter for Nothing {
    fn prepare(&self, _: &[Layer]) -> Result<Writable, BuildError> {
        unreachable!("these builds run nothing")
    }
}

/// A context, and a state directory that outlives builds.
struct Bench {
    directory: tempfile::TempDir,
}

struct Built {
    lines: Vec<String>,
    fates: Vec<Fate>,
    view: ParentView,
}

impl Bench {
    fn new(files: &[&str]) -> Self {
        let bench = Self {
            directory: tempfile::tempdir().unwrap(),
        };
        fs::create_dir(bench.path("")).unwrap();
        for file in files {
            bench.write(file, file);
        }
        bench
    }

    fn path(&self, file: &str) -> PathBuf {
        self.directory.path().join("context").join(file)
    }

    fn write(&self, file: &str, content: &str) {
        let path = self.path(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    }

    fn mode(&self, file: &str, mode: u32) {
        fs::set_permissions(self.path(file), fs::Permissions::from_mode(mode)).unwrap();
    }

    fn try_build(&self, dockerfile: &str, ignore: &str) -> Result<Built, SolveError> {
        let parsed = parse(dockerfile.as_bytes());
        assert!(parsed.diagnostics.is_empty(), "{:?}", parsed.diagnostics);
        let platform: Platform = "linux/amd64".parse().unwrap();
        let options = PlanOptions {
            target: None,
            build_args: BTreeMap::new(),
            platforms: vec![platform.clone()],
            build_platform: platform,
            epoch: None,
            labels: Vec::new(),
            network: kiln_solver::Network::Default,
            extra_hosts: Vec::new(),
            contexts: BTreeMap::new(),
            allowed: Vec::new(),
        };
        let plan = plan(&parsed.dockerfile, &options, &Nothing).unwrap();
        let store = Store::open(&self.directory.path().join("state")).unwrap();
        let layers = LayerStore::new(&store);
        let context = self.scan(&store, &plan, ignore);
        let reporter = Reporter::new(&Silent);
        let surroundings = RunSurroundings {
            proxies: Vec::new(),
            network: Network::None,
            extra_hosts: Vec::new(),
            device_directories: Vec::new(),
            devices: AllowedDevices::All,
            secrets: BTreeMap::new(),
            shm_size_bytes: 0,
            ulimits: Vec::new(),
            resources: Resources::default(),
            resolv_conf: EtcFile::Untouched,
        };
        let deps = Deps {
            store: &store,
            layers: &layers,
            snapshotter: &Nothing,
            cache: &Actions::new(&store),
            bases: &Nothing,
            remotes: &Nothing,
            contexts: &[context],
            cache_mounts: &Nothing,
            agents: &Nothing,
            executor: &Nothing,
            surroundings: &surroundings,
            reporter: &reporter,
            cancel: &Cancel::new().unwrap(),
            jobs: 4,
            reuse: Reuse::All,
            journal: &Journal::new(&store),
            definition: &Definition {
                context: "ctx".to_owned(),
                dockerfile: "Dockerfile".to_owned(),
                target: None,
                platforms: Vec::new(),
            },
            ahead: Ahead::Nothing,
        };
        let target = plan.targets[0].root.unwrap();
        let Solution { states, steps, .. } = solve(&plan.graph, &[target], &deps);
        let state = states?.remove(0);
        let built: Vec<Layer> = state
            .layers
            .iter()
            .map(|built| layers.layer(built.layer).unwrap())
            .collect();
        let view = ParentView::new(&built).unwrap();
        Ok(Built {
            lines: list(&view),
            fates: steps.into_iter().map(|step| step.fate).collect(),
            view,
        })
    }

    fn scan(&self, store: &Store, plan: &kiln_solver::Plan, ignore: &str) -> ScannedContext {
        let (rules, problems) = IgnoreRules::parse(ignore.as_bytes());
        assert!(problems.is_empty());
        let context = Context {
            directory: self.path("").canonicalize().unwrap(),
            ignore: rules,
            owners: kiln_cache::Owners::Root,
            lifetime: kiln_solver::Lifetime::Lasting,
        };
        let wanted = context_reads(&plan.graph, ContextId::MAIN);
        context.scan(store, &wanted, Timestamp::now()).unwrap()
    }

    #[track_caller]
    fn build(&self, instructions: &str) -> Built {
        match self.try_build(&format!("FROM scratch\n{instructions}\n"), "") {
            Ok(built) => built,
            Err(error) => panic!("{error}"),
        }
    }

    #[track_caller]
    fn check(&self, instructions: &str, expected: &[&str]) {
        assert_eq!(self.build(instructions).lines, expected, "{instructions}");
    }

    #[track_caller]
    fn fails(&self, instructions: &str, expected: &str) {
        match self.try_build(&format!("FROM scratch\n{instructions}\n"), "") {
            Ok(built) => panic!("{instructions} was built: {:?}", built.lines),
            Err(error) => assert_eq!(error.to_string(), expected, "{instructions}"),
        }
    }
}

/// One line for each file: path, what it is, mode, owner where it is not root, content's origin.
fn list(view: &ParentView) -> Vec<String> {
    view.walk(&kiln_cache::GuestPath::ROOT)
        .map(|located| {
            let entry = located.entry;
            let path = String::from_utf8_lossy(entry.path).into_owned();
            let owner = match (entry.uid, entry.gid) {
                (0, 0) => String::new(),
                (uid, gid) => format!(" {uid}:{gid}"),
            };
            let mode = entry.mode;
            match entry.kind {
                Kind::Directory { .. } => format!("{path}/ {mode:o}{owner}"),
                Kind::File { size, .. } if size > 1 << 20 => {
                    format!("{path} {mode:o}{owner} {size} bytes")
                }
                Kind::File { .. } => {
                    let path_inside = entry.guest_path();
                    let content = view.read(&path_inside, 1 << 20).unwrap().unwrap();
                    let content = String::from_utf8_lossy(&content).into_owned();
                    match content == path || content.len() > 60 {
                        true => format!("{path} {mode:o}{owner}"),
                        false => format!("{path} {mode:o}{owner} {content:?}"),
                    }
                }
                Kind::Symlink { target } => {
                    format!("{path} -> {}{owner}", String::from_utf8_lossy(target))
                }
                Kind::HardLink { target } => {
                    format!("{path} = {}", String::from_utf8_lossy(target))
                }
                other => format!("{path} {other:?}"),
            }
        })
        .collect()
}

/// DF-116, DF-117.
#[test]
fn directories_give_their_contents_and_files_their_names() {
    let bench = Bench::new(&["d/x", "d/e/y", "f"]);
    let tree = [
        "o/ 755",
        "o/e/ 755",
        "o/e/y 644 \"d/e/y\"",
        "o/x 644 \"d/x\"",
    ];
    bench.check("COPY d /o", &tree);
    bench.check("COPY d /o/", &tree);
    bench.check("COPY d/. o", &tree);
    bench.check("COPY f /o", &["o 644 \"f\""]);
    bench.check("COPY f /o/", &["o/ 755", "o/f 644 \"f\""]);
    bench.check("WORKDIR /o\nCOPY f .", &["o/ 755", "o/f 644 \"f\""]);
    bench.check("WORKDIR /o\nCOPY f /o", &["o/ 755", "o/f 644 \"f\""]);
    bench.check("COPY f ../../a/../b", &["b 644 \"f\""]);
}

/// DF-118, DF-119, DF-120, DF-121.
#[test]
fn several_sources_none_and_missing_ones() {
    let bench = Bench::new(&["a", "b"]);
    bench.check("COPY a b /x", &["x 644 \"b\""]);
    bench.check("COPY a /x\nCOPY nothing* /y/", &["x 644 \"a\""]);
    bench.check("COPY ../../a /x", &["x 644 \"a\""]);
    bench.fails(
        "COPY sub/../nofile /x",
        "failed to compute cache key: failed to calculate checksum: \"/nofile\": not found",
    );
}

/// DF-122, DF-123, DF-124.
#[test]
fn links_are_followed_as_arguments_and_destinations_only() {
    let bench = Bench::new(&["real/file", "f"]);
    symlink("real", bench.path("dirlink")).unwrap();
    symlink("real/file", bench.path("filelink")).unwrap();
    fs::create_dir(bench.path("holder")).unwrap();
    symlink("../f", bench.path("holder/inner")).unwrap();
    bench.check("COPY dirlink /o", &["o/ 755", "o/file 644 \"real/file\""]);
    bench.check(
        "COPY filelink /o/",
        &["o/ 755", "o/filelink 644 \"real/file\""],
    );
    bench.check("COPY dirlink/file /o", &["o 644 \"real/file\""]);
    bench.check("COPY holder /o", &["o/ 755", "o/inner -> ../f"]);
    symlink("/data/real", bench.path("holder/dest")).unwrap();
    bench.check(
        "COPY holder /\nCOPY f /dest",
        &[
            "data/ 755",
            "data/real 644 \"f\"",
            "dest -> /data/real",
            "inner -> ../f",
        ],
    );
    bench.check(
        "WORKDIR /data/real\nCOPY holder /\nCOPY f /dest",
        &[
            "data/ 755",
            "data/real/ 755",
            "data/real/f 644 \"f\"",
            "dest -> /data/real",
            "inner -> ../f",
        ],
    );
}

/// DF-127, DF-128, DF-129, DF-130, DF-131, DF-132, DF-134.
#[test]
fn owners_and_modes() {
    let bench = Bench::new(&["f", "d/g"]);
    bench.write("etc/passwd", "root:x:0:0::/:/bin/sh\nme:x:7:8::/:/bin/sh\n");
    bench.write("etc/group", "root:x:0:\ngrp:x:9:me\n");
    let owned = |owner: &str| {
        let built = bench.build(&format!("COPY etc /etc\nCOPY --chown={owner} f /o/p"));
        built.lines[3..].join(", ")
    };
    assert_eq!(owned("5"), "o/ 755 5:5, o/p 644 5:5 \"f\"");
    assert_eq!(owned("me"), "o/ 755 7:8, o/p 644 7:8 \"f\"");
    assert_eq!(owned(":grp"), "o/ 755 0:9, o/p 644 0:9 \"f\"");
    assert_eq!(owned("me:grp"), "o/ 755 7:9, o/p 644 7:9 \"f\"");
    assert_eq!(owned("nosuch"), "o/ 755, o/p 644 \"f\"");
    // A group that is not known leaves that of the user.
    assert_eq!(owned("me:nosuch"), "o/ 755 7:8, o/p 644 7:8 \"f\"");
    assert_eq!(owned("5:nosuch"), "o/ 755 5:5, o/p 644 5:5 \"f\"");
    bench.check(
        "COPY --chmod=600 f /m/e/f",
        &["m/ 600", "m/e/ 600", "m/e/f 600 \"f\""],
    );
    bench.check("COPY --chmod=u+x,g-r f /m/f", &["m/ 755", "m/f 704 \"f\""]);
    bench.check("COPY --chmod=4755 f /f", &["f 4755"]);
    bench.mode("d", 0o700);
    bench.mode("d/g", 0o400);
    bench.check("COPY d /o", &["o/ 755", "o/g 400 \"d/g\""]);
    bench.check(
        "COPY --chmod=751 . /o\n",
        &[
            "o/ 751",
            "o/d/ 751",
            "o/d/g 751 \"d/g\"",
            "o/etc/ 751",
            "o/etc/group 751 \"root:x:0:\\ngrp:x:9:me\\n\"",
            "o/etc/passwd 751 \"root:x:0:0::/:/bin/sh\\nme:x:7:8::/:/bin/sh\\n\"",
            "o/f 751 \"f\"",
        ],
    );
}

/// DF-135.
#[test]
fn files_and_directories_do_not_replace_each_other() {
    let bench = Bench::new(&["d/x", "x/y", "f"]);
    bench.fails("COPY f /o\nCOPY d /o", "cannot copy to non-directory: /o");
    bench.fails(
        "COPY x /o/x\nCOPY d /o",
        "cannot replace to directory /o/x with file",
    );
    bench.fails("COPY f /o\nCOPY f /o/p", "cannot copy to non-directory: /o");
    bench.check("COPY f /o\nCOPY d/x /o", &["o 644 \"d/x\""]);
}

/// DF-126, DF-136, DF-160 and section 7.3.
#[test]
fn copies_between_stages_keep_owners_and_hard_links() {
    let bench = Bench::new(&["t/a"]);
    fs::hard_link(bench.path("t/a"), bench.path("t/b")).unwrap();
    fs::create_dir(bench.path("t/c")).unwrap();
    fs::hard_link(bench.path("t/a"), bench.path("t/c/d")).unwrap();
    bench.check(
        "COPY t /o",
        &[
            "o/ 755",
            "o/a 644 \"t/a\"",
            "o/b = o/a",
            "o/c/ 755",
            "o/c/d = o/a",
        ],
    );
    bench.check("COPY t/b /o", &["o 644 \"t/a\""]);
    bench.check(
        "COPY --chown=3:4 t /o\nFROM scratch\nCOPY --from=0 /o/c /n\nCOPY --from=0 /o /m",
        &[
            "m/ 755",
            "m/a 644 3:4 \"t/a\"",
            "m/b = m/a",
            "m/c/ 755 3:4",
            "m/c/d = m/a",
            "n/ 755",
            "n/d 644 3:4 \"t/a\"",
        ],
    );
}

/// DF-137, DF-138, DF-139, DF-140.
#[test]
fn wildcards_parents_and_exclusions() {
    let bench = Bench::new(&[
        "p/one.go",
        "p/q/two.go",
        "p/q/r/three.go",
        "p/q/x.txt",
        "[a].txt",
    ]);
    bench.check(
        "COPY **/one.go /o/",
        &["o/ 755", "o/one.go 644 \"p/one.go\""],
    );
    bench.check("COPY p/*/x.* /o/", &["o/ 755", "o/x.txt 644 \"p/q/x.txt\""]);
    bench.check("COPY [[]a].txt /o", &["o 644 \"[a].txt\""]);
    // A directory that matches gives its contents.
    bench.check(
        "COPY p/q/[r] /o",
        &["o/ 755", "o/three.go 644 \"p/q/r/three.go\""],
    );
    bench.check(
        "COPY --parents p/**/*.go /o/",
        &[
            "o/ 755",
            "o/p/ 755",
            "o/p/one.go 644 \"p/one.go\"",
            "o/p/q/ 755",
            "o/p/q/r/ 755",
            "o/p/q/r/three.go 644 \"p/q/r/three.go\"",
            "o/p/q/two.go 644 \"p/q/two.go\"",
        ],
    );
    bench.check(
        "COPY --parents p/./q/r/three.go /o",
        &[
            "o/ 755",
            "o/q/ 755",
            "o/q/r/ 755",
            "o/q/r/three.go 644 \"p/q/r/three.go\"",
        ],
    );
    bench.check(
        "COPY --exclude=**/*.go --exclude=!q/two.go p /o",
        &[
            "o/ 755",
            "o/q/ 755",
            "o/q/r/ 755",
            "o/q/two.go 644 \"p/q/two.go\"",
            "o/q/x.txt 644 \"p/q/x.txt\"",
        ],
    );
    bench.check("COPY --exclude=*.go p/one.go /o", &["o 644 \"p/one.go\""]);
}

/// Wildcards used to lose links out of the part of the context that they search, to take what lay
/// behind a link in their middle, and to copy nothing where their directory did not exist.
#[test]
fn wildcards_follow_what_they_match_and_nothing_else() {
    let bench = Bench::new(&["sub/a", "other/b", "other/c/d"]);
    symlink("../other/b", bench.path("sub/file")).unwrap();
    symlink("../other", bench.path("sub/full")).unwrap();
    symlink("other", bench.path("o")).unwrap();
    bench.check(
        "COPY sub/f* /o/",
        &[
            "o/ 755",
            "o/b 644 \"other/b\"",
            "o/c/ 755",
            "o/c/d 644 \"other/c/d\"",
            "o/file 644 \"other/b\"",
        ],
    );
    bench.check(
        "COPY o/* /x/",
        &["x/ 755", "x/b 644 \"other/b\"", "x/d 644 \"other/c/d\""],
    );
    bench.check(
        "COPY sub/a ?/b s*/full/b /x/",
        &["x/ 755", "x/a 644 \"sub/a\""],
    );
    symlink("nowhere", bench.path("sub/gone")).unwrap();
    bench.fails(
        "COPY sub/g* /x/",
        "failed to compute cache key: failed to calculate checksum: \"/sub/gone\": not found",
    );
}

/// BuildKit sends of a context what instructions name. The directory of a wildcard is there if
/// something in it is sent, or it was made by a stage.
#[test]
fn a_wildcard_without_a_match_needs_its_directory() {
    let bench = Bench::new(&["sub/a", "f"]);
    let nowhere = "lstat /sub: no such file or directory: nothing matches \"sub/*.z\"";
    bench.fails("COPY sub/*.z /x/", nowhere);
    bench.fails("COPY none/* /x/", "lstat /none: no such file or directory");
    bench.check("COPY *.z */z /x/\nCOPY f /f", &["f 644"]);
    bench.check("COPY sub/*.z /x/\nCOPY sub/a /f", &["f 644 \"sub/a\""]);
    bench.check("COPY sub/*.z /x/\nCOPY s* /", &["a 644 \"sub/a\""]);
    let stage = |pattern: &str| {
        format!("COPY sub /sub/\nFROM scratch\nCOPY --from=0 {pattern} /x/\nCOPY f /f")
    };
    bench.check(&stage("/sub/*.z"), &["f 644"]);
    bench.fails(
        &stage("/none/*.z"),
        "lstat /none: no such file or directory",
    );
}

/// Links are kept by `--parents`, and its patterns do not go through them.
#[test]
fn with_parents_links_are_kept() {
    let bench = Bench::new(&["a/b/f", "a/g", "o/p"]);
    symlink("g", bench.path("a/l")).unwrap();
    symlink("nowhere", bench.path("a/gone")).unwrap();
    symlink("../o", bench.path("a/lo")).unwrap();
    bench.check(
        "COPY --parents a/l /d/",
        &["d/ 755", "d/a/ 755", "d/a/l -> g"],
    );
    bench.check(
        "COPY --parents a/gone /d",
        &["d/ 755", "d/a/ 755", "d/a/gone -> nowhere"],
    );
    bench.check("COPY --parents a/./lo /d/", &["d/ 755", "d/lo -> ../o"]);
    bench.check("COPY --parents a/lo/p /d/", &["d/ 755"]);
    bench.check(
        "COPY --parents a/lo/./p /d/",
        &["d/ 755", "d/p 644 \"o/p\""],
    );
    bench.check(
        "COPY --parents **/l* /d/",
        &["d/ 755", "d/a/ 755", "d/a/l -> g", "d/a/lo -> ../o"],
    );
}

/// What stands in front of `/./` may have wildcards; what matches nothing still makes the
/// destination.
#[test]
fn with_parents_the_pivot_may_be_a_pattern() {
    let bench = Bench::new(&["a/b/f", "c/b/g", "c/h"]);
    bench.mode("c/b", 0o700);
    bench.check(
        "COPY --parents ?/./b/* /d/",
        &[
            "d/ 755",
            "d/b/ 700",
            "d/b/f 644 \"a/b/f\"",
            "d/b/g 644 \"c/b/g\"",
        ],
    );
    bench.check("COPY --parents none* a/z* /d/", &["d/ 755"]);
    bench.check("COPY --parents . /d/", &["d/ 755"]);
    bench.fails(
        "COPY --parents a/z /d/",
        "failed to compute cache key: failed to calculate checksum: \"/a/z\": not found",
    );
    bench.fails(
        "COPY --parents a/./z* /d/",
        "lstat /a: no such file or directory: nothing matches \"a/./z*\"",
    );
    // What is there keeps its owner; the mode is that of the source.
    bench.check(
        "COPY --chown=5:6 --chmod=711 c /d\nCOPY --parents --chown=7:8 c/./b/g /d/",
        &[
            "d/ 711 5:6",
            "d/b/ 700 5:6",
            "d/b/g 644 7:8 \"c/b/g\"",
            "d/h 711 5:6 \"c/h\"",
        ],
    );
}

/// With `--parents` patterns begin at the root, or at the pivot, and leave out what is named too.
#[test]
fn with_parents_exclusions_count_from_the_root() {
    let bench = Bench::new(&["a/b/f", "a/g", "t"]);
    let g = ["d/ 755", "d/a/ 755", "d/a/g 644 \"a/g\""];
    bench.check("COPY --parents --exclude=a/b a /d/", &g);
    bench.check("COPY --parents --exclude=b --exclude=a/b/f a/g /d/", &g);
    bench.check(
        "COPY --parents --exclude=a/g a/g t /d/",
        &["d/ 755", "d/t 644 \"t\""],
    );
    bench.check("COPY --parents --exclude=b a/./b /d/", &["d/ 755"]);
    bench.check(
        "COPY --parents --exclude=a --exclude=!a/b a /d/",
        &["d/ 755", "d/a/ 755", "d/a/b/ 755", "d/a/b/f 644 \"a/b/f\""],
    );
    // A directory that was not excluded does not bring back what in it was.
    bench.check(
        "COPY --exclude=**/f --exclude=!b a /d/",
        &["d/ 755", "d/b/ 755", "d/g 644 \"a/g\""],
    );
}

/// Directories that had to be made in an empty root used to be of 1970, which archives such as zip
/// refuse. A copied directory has the time of its source, and what the Dockerfile holds that of the
/// build.
#[test]
fn nothing_is_of_1970() {
    let bench = Bench::new(&["d/e/f"]);
    let at = |seconds| std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
    let set = |path: &str, seconds| {
        let file = fs::File::open(bench.path(path)).unwrap();
        file.set_modified(at(seconds)).unwrap();
    };
    set("d/e", 1_100_000_000);
    set("d", 1_200_000_000);
    let begun = Timestamp::now().seconds;
    let built = bench.build(
        "WORKDIR /w/v\nCOPY d /made/here\nCOPY d/e/f /one/two\nCOPY <<EOF /three/four\nhi\nEOF\n\
         COPY . /all\nCOPY <<EOF /made/here/five\nhi\nEOF",
    );
    let time = |path: &str| {
        let entry = built.view.get(&kiln_cache::GuestPath::new(path));
        entry.unwrap().mtime.seconds
    };
    for path in ["w", "w/v", "made", "one", "three", "all"] {
        assert!(time(path) > 400_000_000, "{path} {}", time(path));
    }
    assert_eq!(time("made/here"), 1_200_000_000);
    assert_eq!(time("made/here/e"), 1_100_000_000);
    assert_eq!(time("all/d"), 1_200_000_000);
    let now = begun..=Timestamp::now().seconds;
    for path in ["three/four", "made/here/five"] {
        assert!(now.contains(&time(path)), "{path} {}", time(path));
    }
}

/// A socket was not there for whoever named it.
#[test]
fn sockets_become_empty_files() {
    let bench = Bench::new(&["d/f"]);
    let _socket = std::os::unix::net::UnixListener::bind(bench.path("d/socket")).unwrap();
    bench.mode("d/socket", 0o700);
    bench.check("COPY d/socket /s", &["s 700 \"\""]);
    let all = ["o/ 755", "o/f 644 \"d/f\"", "o/socket 700 \"\""];
    bench.check("COPY d /o", &all);
    bench.check("COPY d /o", &all);
}

/// DF-032, DF-033, DF-035, DF-046.
#[test]
fn heredocs_are_files() {
    let bench = Bench::new(&["f"]);
    bench.check(
        "ENV V=w\nCOPY f <<one <<\"two\" /o/\na\\nb $V\none\n$V\\n\ntwo",
        &[
            "o/ 755",
            "o/f 644 \"f\"",
            "o/one 644 \"anb w\\n\"",
            "o/two 644 \"$V\\\\n\\n\"",
        ],
    );
    bench.check("COPY <<EOF /x\nhi\nEOF", &["x 644 \"hi\\n\""]);
}

/// DF-142, DF-143, DF-144, DF-145, and sources in their order around an archive.
#[test]
fn archives_are_unpacked_by_add_alone() {
    let bench = Bench::new(&["in/a", "in/b"]);
    let status = std::process::Command::new("tar")
        .args(["--owner=5", "--group=6", "-czf"])
        .arg(bench.path("archive"))
        .arg("-C")
        .arg(bench.path("in"))
        .args(["a", "b"])
        .status()
        .unwrap();
    assert!(status.success());
    bench.check(
        "ADD archive /o",
        &["o/ 755", "o/a 644 5:6 \"in/a\"", "o/b 644 5:6 \"in/b\""],
    );
    bench.check(
        "ADD --chown=1:2 --chmod=600 archive /o",
        &["o/ 600 1:2", "o/a 644 1:2 \"in/a\"", "o/b 644 1:2 \"in/b\""],
    );
    bench.write("a", "mine");
    bench.check(
        "ADD archive a /o/",
        &["o/ 755", "o/a 644 \"mine\"", "o/b 644 5:6 \"in/b\""],
    );
    bench.check(
        "ADD a archive /o/",
        &["o/ 755", "o/a 644 5:6 \"in/a\"", "o/b 644 5:6 \"in/b\""],
    );
    for instruction in ["COPY archive /o", "ADD --unpack=false archive /o"] {
        let built = bench.build(instruction);
        assert_eq!(built.lines, ["o 644"], "{instruction}");
    }
}

/// Sparse files are copied as such, whichever way they come and however large they are.
#[test]
fn holes_are_kept() {
    use std::os::unix::fs::{FileExt as _, MetadataExt as _};
    let bench = Bench::new(&[]);
    let lengths = [
        ("small", 200 << 10),
        ("medium", 4 << 20),
        ("large", 40 << 20),
    ];
    for (name, length) in lengths {
        let file = fs::File::create(bench.path(name)).unwrap();
        file.set_len(length).unwrap();
        if file.metadata().unwrap().blocks() > 0 {
            println!("skipped: the file system has no holes");
            return;
        }
        file.write_all_at(b"middle", length / 2).unwrap();
    }
    let status = std::process::Command::new("tar")
        .arg("-cf")
        .arg(bench.path("archive"))
        .arg("-C")
        .arg(bench.path(""))
        .args(lengths.map(|(name, _)| name))
        .status();
    assert!(status.unwrap().success());
    for text in [
        "COPY small medium large /",
        "COPY --chmod=600 small medium large /d/\nFROM scratch\nCOPY --from=0 --chown=7 /d /",
        "ADD small medium large /",
        "ADD archive /",
    ] {
        let built = bench.build(text);
        for (name, length) in lengths {
            let found = built.view.find(&kiln_cache::GuestPath::new(name)).unwrap();
            let copied = built.view.host_path(&found).unwrap();
            let blocks = fs::metadata(&copied).unwrap().blocks();
            assert!(
                blocks * 512 <= 128 << 10,
                "{text}: {name} takes {blocks} blocks"
            );
            let mut expected = vec![0; usize::try_from(length).unwrap()];
            let middle = expected.len() / 2;
            expected[middle..middle + 6].copy_from_slice(b"middle");
            assert!(fs::read(&copied).unwrap() == expected, "{text}: {name}");
        }
    }
}

/// DF-141.
#[test]
fn linked_copies_do_not_look_below() {
    let bench = Bench::new(&["f", "l/x"]);
    symlink("/elsewhere", bench.path("l/o")).unwrap();
    bench.fails("COPY --link --chown=me f /f", "invalid user index: -1");
    bench.check("COPY --link --chown=3:4 f /f", &["f 644 3:4"]);
    let built = bench.build("COPY l /\nCOPY --link f /o/f");
    assert_eq!(built.lines, ["o/ 755", "o/f 644 \"f\"", "x 644 \"l/x\""]);
}

/// DF-151, DF-156, DF-157.
#[test]
fn ignored_files_do_not_exist() {
    let bench = Bench::new(&["keep", "a.log", "d/b.log", "gone/x", "gone/back"]);
    let ignore = "**/*.log\ngone\n!gone/back\n";
    let built = bench
        .try_build("FROM scratch\nCOPY . /o\n", ignore)
        .unwrap();
    assert_eq!(
        built.lines,
        [
            "o/ 755",
            "o/d/ 755",
            "o/gone/ 755",
            "o/gone/back 644 \"gone/back\"",
            "o/keep 644 \"keep\""
        ]
    );
    let leaking = bench.try_build("FROM scratch\nCOPY . /o\n", "**/*.log\n!d\n**/keep\n");
    let lines = leaking.unwrap().lines;
    assert_eq!(lines[1..3], ["o/d/ 755", "o/gone/ 755"], "{lines:?}");
    let error = bench.try_build("FROM scratch\nCOPY gone/x /o\n", ignore);
    let message = error.err().unwrap().to_string();
    assert!(message.ends_with("\"/gone/x\": not found"), "{message}");
}

/// DF-125, DF-161, DF-164, and early cut-off.
#[test]
fn what_did_not_change_is_not_done_again() {
    let bench = Bench::new(&["a", "b", "d/x"]);
    let text =
        "COPY a /a\nCOPY d /d\nWORKDIR /w\nFROM scratch\nCOPY --from=0 /d /e\nCOPY --from=0 /a /f";
    let ran = |built: &Built| -> Vec<bool> {
        built
            .fates
            .iter()
            .map(|fate| matches!(fate, Fate::Ran { .. }))
            .collect()
    };
    assert_eq!(ran(&bench.build(text)), [true, true, true, true, true]);
    assert_eq!(ran(&bench.build(text)), [false; 5]);
    // A time, and a file that nobody reads.
    let touched = fs::File::options()
        .write(true)
        .open(bench.path("a"))
        .unwrap();
    touched.set_modified(std::time::UNIX_EPOCH).unwrap();
    bench.write("b", "changed");
    assert_eq!(ran(&bench.build(text)), [false; 5]);
    // What does not change what a stage gives lets its consumers be.
    bench.write("a", "changed");
    let built = bench.build(text);
    assert_eq!(ran(&built), [true, true, true, false, true]);
    bench.mode("a", 0o600);
    assert!(ran(&bench.build(text))[0]);
    // Moving and renaming stages changes nothing.
    let moved = "COPY a /a\nCOPY d /d\nWORKDIR /w\nFROM scratch AS named\nCOPY   --from=0 /d \\\n /e\nCOPY --from=0 /a /f";
    assert_eq!(ran(&bench.build(moved)), [false; 5]);
    let entry = bench.build(text).view;
    let path = kiln_cache::GuestPath::new("f");
    let expected = fs::metadata(bench.path("a")).unwrap().modified().unwrap();
    let expected = Timestamp::from(expected).whole_seconds();
    assert_eq!(entry.get(&path).unwrap().mtime, expected);
}

#[test]
fn a_state_directory_that_lost_a_layer_builds_it_again() {
    let bench = Bench::new(&["a"]);
    let first = bench.build("COPY a /a\nCOPY a /b");
    let layers = bench.directory.path().join("state/layers");
    remove(&layers);
    let second = bench.build("COPY a /a\nCOPY a /b");
    assert_eq!(first.lines, second.lines);
}

fn remove(directory: &Path) {
    fs::remove_dir_all(directory).unwrap();
}

/// A layer of which little is new lies on the files of the one that the same copy made before.
#[test]
fn a_layer_of_which_little_changed_holds_little() {
    let names: Vec<String> = (0..100).map(|number| format!("{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let bench = Bench::new(&names);
    let text = "COPY . /dir/";
    let last = |built: &Built| built.view.layers().last().unwrap().clone();
    let first = last(&bench.build(text));
    assert_eq!(first.upon(), None);
    // What it becomes must be what an empty store makes of it.
    let check = |bench: &Bench| {
        let built = bench.build(text);
        let layer = last(&built);
        let diff_id = layer.canonical_tar().unwrap().diff_id;
        let state = bench.directory.path().join("state");
        fs::rename(&state, bench.directory.path().join("kept")).unwrap();
        let alone = bench.build(text);
        assert_eq!(built.lines, alone.lines);
        assert_eq!(last(&alone).upon(), None);
        assert_eq!(diff_id, last(&alone).canonical_tar().unwrap().diff_id);
        remove(&state);
        fs::rename(bench.directory.path().join("kept"), &state).unwrap();
        layer
    };
    bench.write("7", "seven");
    let second = check(&bench);
    assert_eq!(second.upon(), Some(first.clone()));
    let files = second.unpacked().unwrap();
    let own = files.directories().next().unwrap();
    assert_eq!(fs::read_dir(own.join("dir")).unwrap().count(), 1);
    // The next one does not lie on this one, but beside it.
    bench.write("8", "eight");
    bench.write("new/file", "new");
    let third = check(&bench);
    assert_eq!(third.upon(), Some(first.clone()));
    fs::set_permissions(bench.path("9"), fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(check(&bench).upon(), Some(first.clone()));
    // What was deleted cannot be hidden: it may be below, too, and stay there.
    fs::remove_file(bench.path("10")).unwrap();
    let whole = check(&bench);
    assert_eq!(whole.upon(), None);
    fs::remove_file(bench.path("11")).unwrap();
    fs::create_dir(bench.path("11")).unwrap();
    let whole = check(&bench);
    assert_eq!(whole.upon(), None);
    symlink("12", bench.path("link")).unwrap();
    assert_eq!(check(&bench).upon(), Some(whole.clone()));
    fs::remove_file(bench.path("link")).unwrap();
    fs::hard_link(bench.path("12"), bench.path("link")).unwrap();
    assert_eq!(check(&bench).upon(), None);
}

#[test]
fn a_layer_without_the_files_that_it_lies_on_is_made_again() {
    let names: Vec<String> = (0..100).map(|number| format!("{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let bench = Bench::new(&names);
    let first = bench.build("COPY . /");
    bench.write("7", "seven");
    let second = bench.build("COPY . /");
    let below = first.view.layers().last().unwrap();
    let files = below.unpacked().unwrap();
    let layer = files
        .directories()
        .next()
        .unwrap()
        .parent()
        .unwrap()
        .to_owned();
    remove(&layer);
    let third = bench.build("COPY . /");
    assert_eq!(second.lines, third.lines);
    let made = third.view.layers().last().unwrap();
    assert_eq!(made.id(), second.view.layers().last().unwrap().id());
    assert_eq!(made.upon(), None);
    assert!(made.verify(kiln_snapshotter::Whiteouts::Stored).is_empty());
}

/// A program sees how many names a file has: some leave alone what has more than one, as cron does.
#[test]
fn layers_share_no_file() {
    use std::os::unix::fs::MetadataExt as _;

    let bench = Bench::new(&["kept", "changed"]);
    let names = |built: &Built| {
        let found = built.view.walk(&kiln_cache::GuestPath::ROOT);
        let paths = found.map(|found| built.view.host_path(&found).unwrap());
        let names: Vec<u64> = paths
            .map(|path| fs::symlink_metadata(path).unwrap())
            .filter(|metadata| metadata.is_file())
            .map(|metadata| metadata.nlink())
            .collect();
        names
    };
    let first = bench.build("COPY . /");
    bench.write("changed", "other");
    let second = bench.build("COPY . /");
    assert_eq!(second.lines, ["changed 644 \"other\"", "kept 644"]);
    let from =
        bench.build("COPY . /\nFROM scratch\nCOPY --from=0 / /a/\nCOPY --from=0 --link / /b/");
    assert_eq!(from.lines.len(), 6, "{:?}", from.lines);
    for built in [&first, &second, &from] {
        let names = names(built);
        assert!(names.iter().all(|&count| count == 1), "{names:?}");
    }
    // The earlier layer is what it was.
    let changed = kiln_cache::GuestPath::new("changed");
    let before = first.view.read(&changed, 9).unwrap().unwrap();
    assert_eq!(before, b"changed");
}

#[test]
fn a_damaged_file_of_a_layer_is_not_copied() {
    let bench = Bench::new(&["good", "bad"]);
    let first = bench.build("COPY . /");
    let bad = kiln_cache::GuestPath::new("bad");
    let found = first.view.find(&bad).unwrap();
    fs::write(first.view.host_path(&found).unwrap(), "BAD").unwrap();
    let layer = first.view.layers().last().unwrap().id();
    bench.fails(
        "COPY . /\nFROM scratch\nCOPY --from=0 / /a/",
        &format!("file /bad of layer {layer} was changed in the store"),
    );
}
