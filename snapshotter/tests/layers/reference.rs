//! Layers at random, applied by kiln and by a model of what applying a layer means (OCI image-spec
//! v1.1, layer.md): members in their order, then what is hidden of the layers below.
//!
//! `KILN_STACKS` asks for more stacks than the usual few, `KILN_SEED` for others.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt as _;

use kiln_files::GuestPath;
use kiln_oci::Sha256;
use kiln_snapshotter::{Layer, ParentView};
use kiln_tree::NodeKind;
use serde_json::{Value, json};
use tar::{EntryType, Header};

use crate::odd_tars::apply;
use crate::sample::store;

/// xorshift.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap() % bound
    }

    fn one_of<'a>(&mut self, among: &[&'a str]) -> &'a str {
        among[self.below(among.len())]
    }
}

#[derive(Clone, Debug)]
struct Member {
    name: String,
    what: What,
    mode: u16,
    seconds: u64,
}

#[derive(Clone, Debug)]
enum What {
    Directory,
    File(&'static str),
    Link(String),
    Name(String),
}

fn name(random: &mut Random) -> String {
    let depth = 1 + random.below(3);
    let parts: Vec<&str> = (0..depth)
        .map(|_| random.one_of(&["a", "b", "c", "a", "b", ".", ".."]))
        .collect();
    let name = parts.join("/");
    match random.below(8) {
        0 => format!("/{name}"),
        1 => format!("./{name}"),
        2 => format!("../{name}//"),
        _ => name,
    }
}

fn members(random: &mut Random) -> Vec<Member> {
    let count = 1 + random.below(6);
    (0..count)
        .map(|_| {
            let around = name(random);
            let hiding = random.one_of(&[".wh.a", ".wh.b", ".wh.c", ".wh..wh..opq"]);
            let (name, what) = match random.below(12) {
                0..3 => (around, What::Directory),
                3..7 => (around, What::File(random.one_of(&["", "1", "22"]))),
                7 => {
                    let target = random.one_of(&["a", "/b", "..", "b/c", "/", "c"]);
                    (around, What::Link(target.to_owned()))
                }
                8 => (around, What::Name(name(random))),
                9..11 => (format!("{around}/{hiding}"), What::File("")),
                _ => (hiding.to_owned(), What::File("")),
            };
            Member {
                name,
                what,
                mode: [0o755, 0o700, 0o1777][random.below(3)],
                seconds: 1_600_000_000 + random.below(1000) as u64,
            }
        })
        .collect()
}

fn tar_of(members: &[Member]) -> Vec<u8> {
    let mut tar = Vec::new();
    for member in members {
        let mut header = Header::new_ustar();
        let (kind, link, content) = match &member.what {
            What::Directory => (EntryType::Directory, "", ""),
            What::File(content) => (EntryType::Regular, "", *content),
            What::Link(target) => (EntryType::Symlink, target.as_str(), ""),
            What::Name(target) => (EntryType::Link, target.as_str(), ""),
        };
        let fields = header.as_ustar_mut().unwrap();
        fields.name[..member.name.len()].copy_from_slice(member.name.as_bytes());
        fields.linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(member.mode.into());
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(member.seconds);
        header.set_size(content.len() as u64);
        header.set_cksum();
        tar.extend_from_slice(header.as_bytes());
        tar.extend_from_slice(content.as_bytes());
        tar.resize(tar.len().next_multiple_of(512), 0);
    }
    tar.resize(tar.len() + 1024, 0);
    tar
}

type Path = Vec<String>;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Node {
    /// None for a directory of which nothing is known but what is in it.
    Directory(Option<(u16, u64)>),
    Other(String, (u16, u64)),
}

/// What a layer brings.
#[derive(Default)]
struct Own {
    nodes: BTreeMap<Path, Node>,
    hidden: BTreeSet<Path>,
    opaque: BTreeSet<Path>,
}

/// The layer cannot be applied.
#[derive(Debug)]
struct Refused;

fn clean(name: &str) -> Path {
    let mut path = Path::new();
    for part in name.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(path.pop()),
            part => path.push(part.to_owned()),
        }
    }
    path
}

impl Own {
    /// Follows the links above a path, and makes its directories.
    fn place(&mut self, path: &[String]) -> Result<Path, Refused> {
        let Some((last, around)) = path.split_last() else {
            return Ok(Path::new());
        };
        let mut current = Path::new();
        let mut rest: Vec<String> = around.iter().rev().cloned().collect();
        let mut links = 0;
        while let Some(part) = rest.pop() {
            match part.as_str() {
                "" | "." => continue,
                ".." => {
                    current.pop();
                    continue;
                }
                _ => current.push(part),
            }
            match self.nodes.get(&current) {
                Some(Node::Directory(_)) => {}
                None => drop(self.nodes.insert(current.clone(), Node::Directory(None))),
                Some(Node::Other(text, _)) => {
                    let target = text.strip_prefix("-> ").ok_or(Refused)?;
                    links += 1;
                    if links > 40 {
                        return Err(Refused);
                    }
                    current.pop();
                    if target.starts_with('/') {
                        current.clear();
                    }
                    rest.extend(target.split('/').rev().map(ToOwned::to_owned));
                }
            }
        }
        current.push(last.clone());
        Ok(current)
    }

    fn put(&mut self, path: Path, node: Node) {
        let is_directory = |node: &Node| matches!(node, Node::Directory(_));
        let is_kept = path.is_empty() || self.nodes.get(&path).is_some_and(is_directory);
        if !(is_kept && is_directory(&node)) {
            self.nodes.retain(|known, _| !known.starts_with(&path));
        }
        self.nodes.insert(path, node);
    }

    fn of(members: &[Member]) -> Result<Self, Refused> {
        let mut own = Self::default();
        let (mut hidden, mut opaque, mut waiting) = (Vec::new(), BTreeSet::new(), Vec::new());
        for member in members {
            let written = clean(&member.name);
            let face = (member.mode, member.seconds);
            if let Some((last, around)) = written.split_last()
                && let Some(name) = last.strip_prefix(".wh.")
            {
                match name {
                    ".wh..opq" => drop(opaque.insert(around.to_vec())),
                    name => hidden.push([around, &[name.to_owned()]].concat()),
                }
                continue;
            }
            if written.is_empty() && !matches!(member.what, What::Directory) {
                continue;
            }
            let path = own.place(&written)?;
            match &member.what {
                What::Directory => own.put(path, Node::Directory(Some(face))),
                What::File(content) => own.put(path, Node::Other((*content).to_owned(), face)),
                What::Link(target) => {
                    let face = (0o777, member.seconds);
                    own.put(path, Node::Other(format!("-> {target}"), face));
                }
                What::Name(target) => {
                    let target = own.place(&clean(target))?;
                    if own.nodes.contains_key(&target) {
                        own.link(path, &target)?;
                    } else {
                        waiting.push((path, target));
                    }
                }
            }
        }
        for (path, target) in waiting {
            own.link(path, &target)?;
        }
        for path in opaque {
            let mut inside = own.place(&[path.as_slice(), &["x".to_owned()]].concat())?;
            inside.pop();
            own.opaque.insert(inside);
        }
        let hidden: Result<Vec<Path>, Refused> =
            hidden.iter().map(|path| own.place(path)).collect();
        for path in hidden? {
            match own.nodes.get(&path) {
                None => drop(own.hidden.insert(path)),
                Some(Node::Directory(_)) => drop(own.opaque.insert(path)),
                Some(Node::Other(..)) => {}
            }
        }
        Ok(own)
    }

    fn link(&mut self, path: Path, target: &Path) -> Result<(), Refused> {
        // What has to make room takes the target with it.
        let is_inside = path != *target && target.starts_with(&path);
        match self.nodes.get(target).cloned() {
            Some(node @ Node::Other(..)) if !is_inside => {
                if path != *target {
                    self.put(path, node);
                }
                Ok(())
            }
            _ => Err(Refused),
        }
    }

    /// Puts the layer on a root.
    fn apply(self, root: &mut BTreeMap<Path, Node>) {
        for path in &self.hidden {
            root.retain(|known, _| !known.starts_with(path));
        }
        for path in &self.opaque {
            root.retain(|known, _| known == path || !known.starts_with(path));
        }
        for (path, node) in self.nodes {
            let known = root.get(&path);
            match (node, known) {
                (Node::Directory(None), Some(Node::Directory(_))) => {}
                (Node::Directory(face), Some(Node::Directory(_))) => {
                    root.insert(path, Node::Directory(face));
                }
                (node, _) => {
                    root.retain(|known, _| !known.starts_with(&path));
                    root.insert(path, node);
                }
            }
        }
    }
}

/// What kiln makes of a stack.
fn shown(layers: &[Layer]) -> BTreeMap<Path, Node> {
    let view = ParentView::new(layers).unwrap();
    let mut root = BTreeMap::new();
    let entries = view.walk(&GuestPath::ROOT).map(|found| found.entry);
    for entry in entries.chain(view.get(&GuestPath::ROOT)) {
        let path = entry.guest_path();
        // What a walk says of a path is what a look-up says.
        let found = view.get(&path).unwrap();
        assert_eq!(
            (found.mode, found.mtime),
            (entry.mode, entry.mtime),
            "{path}"
        );
        let face = (entry.mode, entry.mtime.seconds.unsigned_abs());
        let node = match found.kind {
            // 1980: nobody has said.
            NodeKind::Directory { .. } => Node::Directory((face.1 > 1_000_000_000).then_some(face)),
            NodeKind::File { size: 0, .. } => Node::Other(String::new(), face),
            NodeKind::File { size: 1, .. } => Node::Other("1".to_owned(), face),
            NodeKind::File { .. } => Node::Other("22".to_owned(), face),
            NodeKind::Symlink { target } => {
                Node::Other(format!("-> {}", String::from_utf8_lossy(target)), face)
            }
            kind => panic!("{kind:?}"),
        };
        let path = String::from_utf8_lossy(path.as_bytes()).into_owned();
        root.insert(clean(&path), node);
    }
    root
}

#[expect(
    clippy::disallowed_methods,
    reason = "whoever wants other stacks says so"
)]
#[test]
fn layers_at_random_are_applied_as_specified() {
    let number = |name: &str, default| {
        std::env::var(name).map_or(default, |text| text.parse::<u64>().unwrap())
    };
    let (first, stacks) = (number("KILN_SEED", 1), number("KILN_STACKS", 250));
    let (_directory, store) = store();
    let (mut accepted, mut refused) = (0, 0);
    for seed in first..first + stacks {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let mut layers = Vec::new();
        let mut root = BTreeMap::from([(Path::new(), Node::Directory(None))]);
        let mut tried = Vec::new();
        for _ in 0..3 {
            let members = members(&mut random);
            let tar = tar_of(&members);
            tried.push(members.clone());
            match (apply(&store, &tar), Own::of(&members)) {
                (Ok(layer), Ok(own)) => {
                    layers.push(layer);
                    own.apply(&mut root);
                    accepted += 1;
                }
                (Err(_), Err(Refused)) => refused += 1,
                (Ok(_), Err(Refused)) => panic!("seed {seed}: accepted {tried:#?}"),
                (Err(error), Ok(_)) => panic!("seed {seed}: {error}: {tried:#?}"),
            }
            assert_eq!(shown(&layers), root, "seed {seed}: {tried:#?}");
        }
    }
    assert!(
        accepted > refused && refused > 0,
        "{accepted} accepted, {refused} refused"
    );
}

/// Says whether all programs agree on what a layer is: each path once, none below what is no
/// directory, and no links, which some follow and some replace.
fn is_plain(members: &[Member]) -> bool {
    let paths: BTreeSet<Path> = members.iter().map(|member| clean(&member.name)).collect();
    let is_plain = |member: &Member| {
        let path = clean(&member.name);
        let has_inside = paths
            .iter()
            .any(|other| *other != path && other.starts_with(&path));
        match member.what {
            What::Directory => true,
            What::File(_) => !path.is_empty() && !has_inside,
            What::Link(_) | What::Name(_) => false,
        }
    };
    paths.len() == members.len() && members.iter().all(is_plain)
}

/// Writes tars as the layers of an image into an OCI layout.
fn write_layout(directory: &std::path::Path, tars: &[Vec<u8>]) {
    let blobs = directory.join("blobs/sha256");
    fs::create_dir_all(&blobs).unwrap();
    let put = |media_type: &str, bytes: &[u8]| {
        let digest = Sha256::of(bytes).to_string();
        let name = digest.trim_start_matches("sha256:");
        fs::write(blobs.join(name), bytes).unwrap();
        json!({"mediaType": media_type, "digest": digest, "size": bytes.len()})
    };
    let layers: Vec<Value> = tars
        .iter()
        .map(|tar| put("application/vnd.oci.image.layer.v1.tar", tar))
        .collect();
    let diff_ids: Vec<&Value> = layers.iter().map(|layer| &layer["digest"]).collect();
    let config = json!({
        "architecture": "amd64",
        "os": "linux",
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    });
    let config = put(
        "application/vnd.oci.image.config.v1+json",
        config.to_string().as_bytes(),
    );
    let manifest = json!({"schemaVersion": 2, "config": config, "layers": layers});
    let mut manifest = put(
        "application/vnd.oci.image.manifest.v1+json",
        manifest.to_string().as_bytes(),
    );
    manifest["annotations"] = json!({"org.opencontainers.image.ref.name": "v1"});
    let index = json!({"schemaVersion": 2, "manifests": [manifest]});
    fs::write(directory.join("index.json"), index.to_string()).unwrap();
    fs::write(
        directory.join("oci-layout"),
        r#"{"imageLayoutVersion":"1.0.0"}"#,
    )
    .unwrap();
}

/// Returns what is in a directory: of directories that nobody described, only that they are.
fn on_disk(root: &std::path::Path, expected: &BTreeMap<Path, Node>) -> BTreeMap<Path, Node> {
    let mut found = BTreeMap::new();
    let mut pending = vec![Path::new()];
    while let Some(path) = pending.pop() {
        let place = root.join(path.join("/"));
        let metadata = fs::symlink_metadata(&place).unwrap();
        let mode = u16::try_from(metadata.mode() & 0o7777).unwrap();
        let face = (mode, metadata.mtime().unsigned_abs());
        let node = match (metadata.is_dir(), expected.get(&path)) {
            (true, Some(Node::Directory(Some((_, seconds))))) => {
                // Whatever else was put into it has changed its time.
                Node::Directory(Some((mode, *seconds)))
            }
            (true, _) => Node::Directory(None),
            (false, _) => Node::Other(fs::read_to_string(&place).unwrap(), face),
        };
        if metadata.is_dir() {
            for entry in fs::read_dir(&place).unwrap() {
                let name = entry.unwrap().file_name().into_string().unwrap();
                pending.push([path.as_slice(), &[name]].concat());
            }
        }
        found.insert(path, node);
    }
    found
}

/// What the model says is not only what kiln thinks.
#[test]
fn the_model_agrees_with_umoci() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: owners and modes are only root's to give");
        return;
    }
    let mut compared = 0;
    for seed in 1..4000 {
        let mut random = Random(u64::wrapping_mul(seed, 0x9e37_79b9_7f4a_7c15) | 1);
        let stack: Vec<Vec<Member>> = (0..3).map(|_| members(&mut random)).collect();
        if compared == 15 || !stack.iter().all(|members| is_plain(members)) {
            continue;
        }
        let mut root = BTreeMap::from([(Path::new(), Node::Directory(None))]);
        for members in &stack {
            Own::of(members).unwrap().apply(&mut root);
        }
        let directory = tempfile::tempdir().unwrap();
        let (layout, bundle) = (
            directory.path().join("layout"),
            directory.path().join("bundle"),
        );
        let tars: Vec<Vec<u8>> = stack.iter().map(|members| tar_of(members)).collect();
        write_layout(&layout, &tars);
        let output = std::process::Command::new("umoci")
            .args(["unpack", "--image"])
            .arg(format!("{}:v1", layout.display()))
            .arg(&bundle)
            .output();
        let Ok(output) = output else {
            println!("skipped: no umoci");
            return;
        };
        // It puts nothing into what was a file of a layer below.
        if output.status.success() {
            let found = on_disk(&bundle.join("rootfs"), &root);
            // A mark alone makes no directory there, as it does in containerd.
            root.retain(|path, node| *node != Node::Directory(None) || found.contains_key(path));
            assert_eq!(found, root, "seed {seed}: {stack:#?}");
            compared += 1;
        }
    }
    assert!(compared == 15, "only {compared} were compared");
}
