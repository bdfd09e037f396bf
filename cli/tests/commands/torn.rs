//! Files of the state directory that are cut short: what comes of it is right, or said.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use kiln_testbed::{Ended, GitSite, Kiln, Registry, need, run};

use crate::program;

const DOCKERFILE: &str = "FROM scratch\n\
    COPY busybox /bin/sh\n\
    RUN echo made > /made && echo x > /x\n\
    COPY note /note\n";

/// Returns the files below a directory, but for the contents of layers, which are not looked at
/// whenever they are used: `kiln cache verify` does that.
fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let metadata = fs::symlink_metadata(&path).unwrap();
        let is_diff = path.file_name().is_some_and(|name| name == "diff");
        if metadata.is_dir() && !is_diff {
            found.extend(files(&path));
        } else if !metadata.is_dir() && metadata.len() > 0 {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// Returns the directories of all layers.
fn layers(kiln: &Kiln) -> Vec<PathBuf> {
    let list = |directory: &Path| {
        let entries = fs::read_dir(directory).unwrap();
        entries
            .map(|entry| entry.unwrap().path())
            .collect::<Vec<_>>()
    };
    let groups = list(&kiln.scratch.join("state/layers"));
    groups.iter().flat_map(|group| list(group)).collect()
}

/// Checks that a command did what it should, or said what is wrong and how to go on.
#[track_caller]
fn is_right_or_said(file: &Path, what: &str, ended: &Ended, is_right: impl FnOnce() -> bool) {
    assert!(!ended.stderr.contains("panicked"), "{what}: {ended:#?}");
    match ended.code {
        0 => assert!(
            is_right(),
            "{what} with {} cut short: {ended:#?}",
            file.display()
        ),
        code => {
            let said = ended.stderr.to_lowercase();
            let is_clear = ["damaged", "does not hold a digest", "format", "hint: "];
            assert!(
                code > 0 && is_clear.iter().any(|word| said.contains(word)),
                "{what} with {} cut short: {ended:#?}",
                file.display()
            );
        }
    }
}

#[test]
fn every_file_cut_short_is_found_or_does_no_harm() {
    let kiln = need!(Kiln::for_builds(program()));
    kiln.dockerfile(DOCKERFILE);
    kiln.write("ctx/note", "noted\n");
    kiln.ok(&["build", "-q", "-t", "app", "ctx"]);
    kiln.ok(&["build", "-q", "-o", "type=oci,dest=first.tar", "ctx"]);
    kiln.ok(&["tag", "app", "other"]);
    let id = kiln.ok(&["inspect", "-f", "{{.Id}}", "app"]);
    let (state, whole) = (kiln.scratch.join("state"), kiln.scratch.join("whole"));
    fs::rename(&state, &whole).unwrap();
    let files = files(&whole);
    assert!(files.len() > 20, "{files:#?}");
    for (number, file) in files.iter().enumerate() {
        let _ = fs::remove_dir_all(&state);
        run(Command::new("cp").arg("-a").arg(&whole).arg(&state));
        let inside = file.strip_prefix(&whole).unwrap();
        let length = fs::metadata(file).unwrap().len();
        // Half of them lose all, half of them half: what is lost is one kind of file each time.
        let left = if number % 2 == 0 { 0 } else { length / 2 };
        let torn = File::options()
            .write(true)
            .open(state.join(inside))
            .unwrap();
        torn.set_len(left).unwrap();
        drop(torn);
        let listed = kiln.run(&["images", "--no-trunc", "-q"]);
        is_right_or_said(inside, "images", &listed, || {
            listed.stdout.lines().all(|line| line == id)
        });
        let upon = "FROM app\nRUN read made < /made; read note < /note; echo $made $note > /read\n";
        kiln.write("upon/Dockerfile", upon);
        let _ = fs::remove_dir_all(kiln.scratch.join("out"));
        let ended = kiln.run(&["build", "-o", "out", "upon"]);
        let read = || fs::read_to_string(kiln.scratch.join("out/read")).unwrap();
        is_right_or_said(inside, "build upon", &ended, || read() == "made noted\n");
        let _ = fs::remove_dir_all(kiln.scratch.join("out"));
        let ended = kiln.run(&["build", "-o", "out", "ctx"]);
        let read = || {
            ["made", "note"]
                .map(|name| fs::read_to_string(kiln.scratch.join("out").join(name)).unwrap())
        };
        is_right_or_said(inside, "build", &ended, || read() == ["made\n", "noted\n"]);
        let ended = kiln.run(&["build", "-q", "-t", "app", "ctx"]);
        is_right_or_said(inside, "build -t", &ended, || true);
        if !inside.starts_with("format") {
            // Whichever file it was, building again makes it whole, under its name too.
            assert_eq!(ended.code, 0, "{}: {ended:#?}", inside.display());
            let saved = kiln.run(&["save", "-o", "app.tar", "app"]);
            assert_eq!(saved.code, 0, "{}: {saved:#?}", inside.display());
            let verified = kiln.run(&["cache", "verify"]);
            assert!(!verified.stderr.contains("panicked"), "{verified:#?}");
            let again = kiln.run(&["cache", "verify"]);
            assert!(
                again.stdout.ends_with(": no damage\n"),
                "{}: {again:#?}",
                inside.display()
            );
        }
    }
}

#[test]
fn a_damaged_name_is_not_looked_for_elsewhere() {
    let kiln = need!(Kiln::for_builds(program()));
    kiln.dockerfile(DOCKERFILE);
    kiln.write("ctx/note", "noted\n");
    kiln.ok(&["build", "-q", "-t", "app", "ctx"]);
    let name = kiln
        .scratch
        .join("state/refs/docker.io/library/app/_tag/latest");
    fs::write(&name, "").unwrap();
    kiln.write("upon/Dockerfile", "FROM app\n");
    for command in [
        &["build", "upon"][..],
        &["run", "app", "true"],
        &["inspect", "app"],
        &["save", "-o", "app.tar", "app"],
        &["tag", "app", "other"],
    ] {
        let ended = kiln.run(command);
        assert_ne!(ended.code, 0, "{command:?}: {ended:#?}");
        let said = format!("{} does not hold a digest; ", name.display());
        assert!(ended.stderr.contains(&said), "{command:?}: {ended:#?}");
    }
    kiln.ok(&["build", "-q", "-t", "app", "ctx"]);
    kiln.ok(&["build", "-q", "upon"]);
    // A name whose image is damaged is not absent either, and can be taken away.
    let manifest = fs::read_to_string(&name).unwrap();
    let hex = manifest.trim().strip_prefix("sha256:").unwrap();
    let blob = kiln
        .scratch
        .join(format!("state/blobs/sha256/{}/{hex}", &hex[..2]));
    fs::write(&blob, "{").unwrap();
    for command in [&["build", "upon"][..], &["run", "app", "true"]] {
        let ended = kiln.run(command);
        assert_ne!(ended.code, 0, "{command:?}: {ended:#?}");
        assert!(
            ended.stderr.contains("image app:latest is damaged: "),
            "{ended:#?}"
        );
    }
    assert_eq!(kiln.ok(&["rmi", "app"]), "Untagged: app:latest");
}

#[test]
fn a_layer_lost_with_the_power_is_made_again_by_the_same_command() {
    let kiln = need!(Kiln::for_builds(program()));
    kiln.dockerfile(DOCKERFILE);
    kiln.write("ctx/note", "noted\n");
    kiln.ok(&["build", "-o", "type=cacheonly", "ctx"]);
    // What a kiln leaves that lost its power while it built: names, and files without contents.
    let dead = kiln.scratch.join("state/work/1-0");
    fs::create_dir_all(dead.join("3")).unwrap();
    for layer in layers(&kiln) {
        let id = layer.file_name().unwrap().to_str().unwrap().to_owned();
        fs::write(dead.join(format!("layer-{id}")), "").unwrap();
        if layer.join("diff/made").exists() {
            fs::write(layer.join("diff/made"), "").unwrap();
        }
    }
    // Who only looks does not mind.
    kiln.ok(&["images"]);
    let ended = kiln.run(&["build", "-o", "out", "ctx"]);
    assert_eq!(ended.code, 0, "{ended:#?}");
    let said = ": /made: content changed; discarded";
    assert!(ended.stderr.contains(said), "{ended:#?}");
    let made = fs::read_to_string(kiln.scratch.join("out/made")).unwrap();
    assert_eq!(made, "made\n");
    assert!(!dead.exists());
    kiln.ok(&["build", "-q", "-t", "app", "ctx"]);
    assert!(kiln.ok(&["cache", "verify"]).ends_with(": no damage"));
}

#[test]
fn a_state_directory_that_cannot_be_written_can_be_looked_at() {
    let kiln = need!(Kiln::for_builds(program()));
    need!(kiln_testbed::need_root());
    kiln.dockerfile(DOCKERFILE);
    kiln.write("ctx/note", "noted\n");
    kiln.ok(&["build", "-q", "-t", "app", "ctx"]);
    let state = kiln.scratch.join("state");
    let looking = "set -e; mount --bind \"$1\" \"$1\"; mount -o remount,bind,ro \"$1\"; shift; \
        for command in images 'inspect app' 'history app' 'ps -a' 'cache du' 'system df' \
        'cache verify --no-repair'; do \"$@\" $command; done";
    let mut command = Command::new("unshare");
    command
        .args([
            "--mount",
            "--propagation",
            "private",
            "sh",
            "-c",
            looking,
            "sh",
        ])
        .arg(&state)
        .arg(env!("CARGO_BIN_EXE_kiln"))
        .env("KILN_ROOT", &state);
    let ended = Ended::from(command.output().unwrap());
    assert_eq!(ended.code, 0, "{ended:#?}");
    assert!(ended.stdout.ends_with(": no damage\n"), "{ended:#?}");
}

#[test]
fn other_users_do_not_get_into_the_state_directory() {
    use std::os::unix::fs::PermissionsExt as _;
    let kiln = need!(Kiln::for_builds(program()));
    let state = kiln.scratch.join("state");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    fs::set_permissions(&state, fs::Permissions::from_mode(0o755)).unwrap();
    kiln.dockerfile(DOCKERFILE);
    kiln.write("ctx/note", "noted\n");
    let mut build = Command::new("sh");
    build
        .args(["-c", "umask 000; exec \"$@\"", "sh"])
        .arg(env!("CARGO_BIN_EXE_kiln"))
        .args(["build", "-q", "-t", "app", "ctx"])
        .current_dir(kiln.scratch.path())
        .env("KILN_ROOT", &state);
    let ended = Ended::from(build.output().unwrap());
    assert_eq!(ended.code, 0, "{ended:#?}");
    assert_eq!(mode(&state), 0o700);
    for file in files(&state) {
        assert_eq!(mode(&file) & 0o022, 0, "{}", file.display());
        assert_eq!(
            mode(file.parent().unwrap()) & 0o022,
            0,
            "{}",
            file.display()
        );
    }
}

/// Not all files of a layer are looked at whenever it is used; a reader of one looks at its length.
#[test]
fn a_file_of_a_layer_cut_short_goes_nowhere() {
    let kiln = need!(Kiln::for_builds(program()));
    kiln.write("ctx/data/first", "first\n");
    kiln.write("ctx/data/note", "noted\n");
    kiln.dockerfile("FROM scratch\nCOPY data /data\n");
    kiln.ok(&["build", "-q", "-t", "app", "ctx"]);
    let tear = || {
        let layers = layers(&kiln);
        let note = |layer: &PathBuf| layer.join("diff/data/note");
        let torn = layers.iter().map(note).find(|note| note.exists());
        File::options()
            .write(true)
            .open(torn.unwrap())
            .unwrap()
            .set_len(2)
            .unwrap();
    };
    tear();
    kiln.write("all/Dockerfile", "FROM app\n");
    kiln.write(
        "file/Dockerfile",
        "FROM scratch\nCOPY --from=app /data/note /n\n",
    );
    kiln.write(
        "tree/Dockerfile",
        "FROM scratch\nCOPY --from=app /data /d\n",
    );
    let (tar, archive) = ("type=tar,dest=files.tar", "image.tar");
    for arguments in [
        &["build", "-q", "file"][..],
        &["build", "-q", "tree"],
        &["build", "-q", "-o", "out", "all"],
        &["build", "-q", "-o", tar, "all"],
        &["save", "-o", archive, "app"],
    ] {
        let ended = kiln.run(arguments);
        let said = &ended.stderr;
        let is_said = said.contains("file /data/note of layer") && said.contains("cache verify");
        assert!(ended.code == 1 && is_said, "{arguments:?}: {ended:#?}");
    }
    for file in ["files.tar", archive] {
        assert!(!kiln.scratch.join(file).exists(), "{file}");
    }
    // The copy of what was edited since takes nothing over from it.
    kiln.write("ctx/data/first", "edited\n");
    kiln.ok(&["build", "-q", "-o", "edited", "ctx"]);
    let read = |path: &str| fs::read_to_string(kiln.scratch.join(path)).unwrap();
    assert_eq!(read("edited/data/note"), "noted\n");
    kiln.write("ctx/data/first", "first\n");
    kiln.run(&["cache", "verify"]);
    kiln.ok(&["build", "-q", "-t", "app", "ctx"]);
    for (context, note) in [("file", "n"), ("tree", "d/note"), ("all", "data/note")] {
        kiln.ok(&["build", "-q", "-o", context, context]);
        assert_eq!(read(&format!("{context}/{note}")), "noted\n");
    }
    kiln.ok(&["save", "-o", archive, "app"]);
}

/// What is lost of one container does not keep kiln from listing the others, or says which one, and it can
/// always be removed.
#[test]
fn every_file_of_a_container_cut_short_is_said_or_does_no_harm() {
    let kiln = need!(Kiln::for_builds(program()));
    kiln.build_shell("app", "");
    for (name, code) in [("torn", "3"), ("other", "4")] {
        let script = format!("echo said; exit {code}");
        let ended = kiln.run(&["run", "--name", name, "app", "sh", "-c", &script]);
        assert_eq!(ended.code.to_string(), code, "{ended:#?}");
    }
    let list = ["ps", "-a", "--format", "{{.Names}} {{.Status}}"];
    let id = kiln.ok(&["ps", "-a", "-q", "--no-trunc", "-f", "name=torn"]);
    let directory = kiln.scratch.join("state/containers").join(&id);
    let mut seen = Vec::new();
    for entry in fs::read_dir(&directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let Ok(whole) = fs::read(&path) else {
            continue; // a directory
        };
        if whole.is_empty() {
            continue;
        }
        File::create(&path).unwrap();
        let listed = kiln.run(&list);
        is_right_or_said(&path, "ps", &listed, || {
            listed.stdout.contains("other Exited (4)") && listed.stdout.lines().count() == 2
        });
        if name == "state.json" {
            // How it ended is not known; it does not run.
            assert!(listed.stdout.contains("torn Exited (137)"), "{listed:#?}");
        }
        if name == "spec.json" {
            let next = format!("`kiln rm -f {id}` removes the container");
            assert!(listed.stderr.contains(&next), "{listed:#?}");
        }
        fs::write(&path, whole).unwrap();
        seen.push(name);
    }
    for name in ["name", "spec.json", "state.json", "log"] {
        assert!(seen.iter().any(|other| other == name), "{name}: {seen:?}");
    }
    for name in ["spec.json", "state.json", "name"] {
        File::create(directory.join(name)).unwrap();
    }
    kiln.ok(&["rm", "-f", &id]);
    assert_eq!(kiln.ok(&["ps", "-a", "--format", "{{.Names}}"]), "other");
}

/// Changes a byte in each packed layer of the store, and returns their names.
fn flip(kiln: &Kiln) -> Vec<PathBuf> {
    let mut blobs = files(&kiln.scratch.join("state/blobs"));
    blobs.retain(|path| {
        let mut bytes = fs::read(path).unwrap();
        let is_layer = bytes.starts_with(&[0x1f, 0x8b]);
        if is_layer {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            fs::write(path, bytes).unwrap();
        }
        is_layer
    });
    assert!(!blobs.is_empty());
    blobs
}

/// A large blob is not hashed before it is used; an export hashes it on the way.
#[test]
fn a_blob_with_a_wrong_byte_is_made_again_by_the_same_command() {
    let kiln = need!(Kiln::for_builds(program()));
    let registry = need!(Registry::shared());
    kiln.dockerfile(DOCKERFILE);
    kiln.write("ctx/note", "noted\n");
    let app = registry.image("app");
    let read = |name: &str| fs::read(kiln.scratch.join(name)).unwrap();
    let is_mended = |ended: &Ended, blobs: &[PathBuf]| {
        for blob in blobs {
            let name = blob.file_name().unwrap().to_str().unwrap();
            let said = format!("blob sha256:{name} was damaged, and is made again");
            assert!(ended.stderr.contains(&said), "{said}: {ended:#?}");
        }
    };
    kiln.ok(&["build", "-q", "-t", &app, "ctx"]);
    for arguments in [
        &["build", "-o", "type=oci,dest=out", "ctx"][..],
        &["build", "-o", "type=docker,dest=out", "ctx"],
        &["save", "-o", "out", &app],
    ] {
        kiln.ok(arguments);
        let whole = read("out");
        let blobs = flip(&kiln);
        let ended = kiln.run(arguments);
        assert_eq!(ended.code, 0, "{arguments:?}: {ended:#?}");
        is_mended(&ended, &blobs);
        assert!(read("out") == whole, "{arguments:?}");
    }
    for output in [
        "-o=type=oci,tar=false,dest=layout",
        "--cache-to=type=local,dest=cache",
        &format!("--output=type=image,push=true,name={app}"),
    ] {
        let blobs = flip(&kiln);
        let ended = kiln.run(&["build", output, "ctx"]);
        assert_eq!(ended.code, 0, "{output}: {ended:#?}");
        is_mended(&ended, &blobs);
        let verified = kiln.run(&["cache", "verify"]);
        assert!(
            verified.stdout.ends_with(": no damage\n"),
            "{output}: {verified:#?}"
        );
    }
    // A pipe does not take back what it got.
    let blobs = flip(&kiln);
    let mut codes = Vec::new();
    for _ in 0..=blobs.len() {
        let ended = Ended::from(kiln.command().args(["save", &app]).output().unwrap());
        if ended.code != 0 {
            let hint = "hint: run the command again: the blob was made again";
            assert!(ended.stderr.contains(hint), "{ended:#?}");
        }
        codes.push(ended.code);
    }
    assert_eq!(codes.last(), Some(&0), "{codes:?}");
    // What came from a registry is fetched once more.
    let state = kiln.scratch.join("state");
    fs::remove_dir_all(&state).unwrap();
    kiln.ok(&["pull", "-q", &app]);
    let blobs = flip(&kiln);
    let ended = kiln.run(&["save", "-o", "out", &app]);
    assert_eq!(ended.code, 0, "{ended:#?}");
    is_mended(&ended, &blobs);
    // What cannot be made again stays where `kiln cache verify` finds it.
    fs::remove_dir_all(&state).unwrap();
    kiln.ok(&["load", "-i", "out"]);
    let blobs = flip(&kiln);
    let ended = kiln.run(&["save", "-o", "again", &app]);
    let is_said = ended
        .stderr
        .contains("hint: it cannot be made again from what is here");
    assert!(ended.code == 1 && is_said, "{ended:#?}");
    assert!(blobs.iter().all(|blob| blob.exists()), "{blobs:?}");
    let verified = kiln.run(&["cache", "verify"]);
    assert!(
        verified.code == 1 && verified.stdout.contains(&app),
        "{verified:#?}"
    );
    kiln.ok(&["load", "-i", "out"]);
    kiln.ok(&["save", "-o", "again", &app]);
    assert!(read("again") == read("out"));
}

/// What git fetched is not synced: after a loss of power any of it may be short, empty or another's.
#[test]
fn every_file_of_a_repository_that_is_damaged_is_fetched_again_or_does_no_harm() {
    let kiln = need!(Kiln::for_builds(program()));
    let site = need!(GitSite::new());
    let (_daemon, address) = need!(site.serve());
    // What is no repository any more is not looked for further up.
    run(Command::new("git")
        .args(["init", "--quiet", "--template="])
        .arg(kiln.scratch.path()));
    let small = site.repository("small");
    small.write("Dockerfile", "FROM scratch\nCOPY . /git\n");
    small.write("dir/note", "noted\n").commit("one");
    // From a hundred objects on, git keeps what it fetches in a pack.
    let large = site.repository("large");
    large.write("Dockerfile", "FROM scratch\nCOPY . /git\n");
    for number in 0..100 {
        large.write(&format!("many/{number}"), &format!("{number}\n"));
    }
    large.write("dir/note", "noted\n").commit("one");
    let is_object = |file: &Path| file.components().any(|part| part.as_os_str() == "objects");
    for (name, count) in [("small", 2), ("large", 102)] {
        let url = format!("git://{address}/{name}.git");
        kiln.dockerfile(&format!("FROM scratch\nADD {url} /git\n"));
        let _ = fs::remove_dir_all(kiln.scratch.join("state"));
        kiln.ok(&["build", "-o", "out", "ctx"]);
        let mirrors = kiln.scratch.join("state/git");
        let whole = kiln.scratch.join(format!("{name}-whole"));
        run(Command::new("cp").arg("-a").arg(&mirrors).arg(&whole));
        let said = format!("what was fetched of {url} before cannot be used");
        let mut files_of_git = files(&whole);
        files_of_git.retain(|file| name == "small" || is_object(file));
        let mut noticed = 0;
        for file in &files_of_git {
            let inside = file.strip_prefix(&whole).unwrap();
            let bytes = fs::read(file).unwrap();
            let mut others = files_of_git.iter().filter(|other| is_object(other));
            let other = others.rfind(|other| *other != file).unwrap();
            let (half, other) = (&bytes[..bytes.len() / 2], fs::read(other).unwrap());
            for (damage, torn, context) in [
                ("empty", &b""[..], "ctx"),
                ("cut in half", half, &*url),
                ("another's", &other, "ctx"),
            ] {
                fs::remove_dir_all(&mirrors).unwrap();
                run(Command::new("cp").arg("-a").arg(&whole).arg(&mirrors));
                // No other user may write to what git writes.
                fs::remove_file(mirrors.join(inside)).unwrap();
                fs::write(mirrors.join(inside), torn).unwrap();
                let _ = fs::remove_dir_all(kiln.scratch.join("out"));
                let ended = kiln.run(&["build", "--no-cache", "-o", "out", context]);
                let what = format!("{} {damage}", inside.display());
                assert_eq!(ended.code, 0, "{what}: {ended:#?}");
                let git = kiln.scratch.join("out/git");
                let note = fs::read_to_string(git.join("dir/note"));
                assert_eq!(note.unwrap(), "noted\n", "{what}: {ended:#?}");
                assert_eq!(files(&git).len(), count, "{what}: {ended:#?}");
                let is_said = ended.stderr.contains(&said);
                // A pack has files that it can do without.
                assert!(
                    is_said || !is_object(file) || name == "large",
                    "{what}: {ended:#?}"
                );
                noticed += usize::from(is_said);
            }
            // By now it is whole.
            let again = kiln.run(&["build", "--no-cache", "-o", "out", "ctx"]);
            assert!(again.code == 0, "{again:#?}");
            assert!(!again.stderr.contains(&said), "{again:#?}");
        }
        assert!(noticed >= 4, "{name}: {noticed}");
    }
    let outer = files(&kiln.scratch.join(".git/objects"));
    assert!(outer.is_empty(), "{outer:#?}");
}
