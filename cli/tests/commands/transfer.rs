//! Images to registries and archives, and back (docs/spec/cli.md 3).

use std::fs;

use insta::assert_snapshot;
use kiln_testbed::{Kiln, Registry, need};
use serde_json::Value;

use crate::commands::harness::masked;
use crate::program;

#[test]
fn pushed_images_can_be_pulled() {
    let kiln = need!(Kiln::for_builds(program()));
    let registry = need!(Registry::shared());
    kiln.knows(&registry);
    let name = registry.image("team/app:v1");
    kiln.dockerfile("FROM scratch\nCOPY busybox /b\n");
    kiln.ok(&["build", "-t", &name, "ctx"]);
    let size = regex::Regex::new(r"size: \d+").unwrap();
    let filter = |text: &str| {
        size.replace(&masked(&kiln, text), "size: [N]")
            .replace(&registry.repositories(), "[REGISTRY]")
    };
    let id = kiln.ok(&["images", "-q"]);
    let pushed = kiln.ok(&["push", &name]);
    let first = pushed.lines().next().unwrap().to_owned();
    let last = pushed.lines().last().unwrap().to_owned();
    assert_snapshot!(filter(&format!("{first}\n{last}")), @r"
    The push refers to repository [[REGISTRY]/team/app]
    v1: digest: [DIGEST] size: [N]
    ");
    assert!(pushed.contains(": Pushed"), "{pushed}");
    // It had to be packed, once.
    assert_eq!(pushed.matches(": Packing\n").count(), 1, "{pushed}");
    let again = kiln.ok(&["push", &name]);
    assert!(!again.contains("Packing"), "{again}");
    assert_eq!(kiln.ok(&["push", "-q", &name]), name);
    kiln.ok(&["rmi", &name]);
    let pulled = kiln.ok(&["pull", &name]);
    assert!(
        pulled.contains("Status: Downloaded newer image for"),
        "{pulled}"
    );
    assert!(
        kiln.ok(&["pull", &name])
            .contains("Status: Image is up to date for")
    );
    assert_eq!(kiln.ok(&["pull", "-q", &name]), name);
    assert_eq!(kiln.ok(&["images", "-q"]), id);
    let missing = registry.image("team/other:v1");
    let ended = kiln.run(&["pull", &missing]);
    assert_eq!(ended.code, 1, "{ended:#?}");
    let ended = kiln.run(&["push", &missing]);
    assert!(
        ended
            .stderr
            .contains("An image does not exist locally with the tag:"),
        "{ended:#?}"
    );
}

/// What `run` needs it pulls, and says so on standard error alone.
#[test]
fn run_pulls_what_is_missing() {
    let kiln = need!(Kiln::for_builds(program()));
    let registry = need!(Registry::shared());
    kiln.knows(&registry);
    let name = registry.image("app");
    kiln.build_shell(&name, "CMD [\"sh\", \"-c\", \"echo hello\"]");
    kiln.ok(&["push", "-q", &name]);
    kiln.ok(&["rmi", &name]);
    let ended = kiln.run(&["run", "--rm", &name]);
    assert_eq!(
        (ended.code, ended.stdout.as_str()),
        (0, "hello\n"),
        "{ended:#?}"
    );
    assert!(
        ended
            .stderr
            .starts_with(&format!("Unable to find image '{name}:latest' locally\n")),
        "{ended:#?}"
    );
}

#[test]
fn archives_carry_names_and_ids() {
    let kiln = need!(Kiln::for_builds(program()));
    kiln.dockerfile("FROM scratch\nCOPY busybox /b\n");
    kiln.ok(&["build", "-t", "app:1", "-t", "app:2", "ctx"]);
    let ids = kiln.ok(&["images", "-q", "--no-trunc"]);
    kiln.ok(&["save", "-o", "app.tar", "app:1", "app:2"]);
    kiln.ok(&["rmi", "app:1", "app:2"]);
    // From a pipe too, which can be read once only.
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", "cat app.tar | \"$1\" load -i /dev/stdin", "sh"]);
    let plain = kiln.command();
    let variables = plain
        .get_envs()
        .filter_map(|(name, value)| Some((name, value?)));
    shell
        .arg(env!("CARGO_BIN_EXE_kiln"))
        .env_clear()
        .envs(variables)
        .current_dir(kiln.scratch.path());
    let piped = kiln_testbed::run_and_read(&mut shell);
    let text = kiln.ok(&["load", "-i", "app.tar"]);
    assert_eq!(piped, text);
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["Loaded image: app:1", "Loaded image: app:2"]);
    assert_eq!(kiln.ok(&["images", "-q", "--no-trunc"]), ids);
    // What is named twice is there once.
    kiln.ok(&["save", "-o", "twice.tar", "app:1", "app:1"]);
    assert_eq!(kiln.ok(&["load", "-i", "twice.tar"]), "Loaded image: app:1");
    let ended = kiln.run(&["load", "-i", "missing.tar"]);
    assert!(ended.stderr.contains("open missing.tar"), "{ended:#?}");
}

/// A base is fetched when a step needs its files: neither for what changes only the config nor for
/// a copy that does not look below itself, however often it is built and pushed.
#[test]
fn a_base_that_no_step_reads_stays_in_its_registry() {
    let kiln = need!(Kiln::for_builds(program()));
    let registry = need!(Registry::shared());
    kiln.knows(&registry);
    let base = registry.image("team/base");
    kiln.build_shell(&base, "CMD [\"true\"]");
    kiln.ok(&["push", "-q", &base]);
    let other = need!(Kiln::for_builds(program()));
    other.knows(&registry);
    other.write("ctx/file", "content");
    let downloads = || {
        let log = registry.log();
        let layers = format!("GET /v2/{}/blobs/", registry.path("team/base"));
        let is_layer = |line: &&str| line.contains(&layers);
        log.lines().filter(is_layer).count()
    };
    let app = registry.image("team/app");
    for dockerfile in ["LABEL a=b\nCMD [\"sh\"]", "COPY --link file /file\nUSER 1"] {
        other.dockerfile(&format!("FROM {base}\n{dockerfile}\n"));
        let before = downloads();
        other.ok(&["build", "-q", "-t", &app, "--push", "ctx"]);
        // Its config is all that is read of it, and once is enough.
        assert!(downloads() - before <= 1, "{}", registry.log());
        let pulled = need!(Kiln::for_builds(program()));
        pulled.knows(&registry);
        pulled.ok(&["pull", "-q", &app]);
        assert_eq!(
            pulled.ok(&["run", "--rm", &app, "sh", "-c", "echo here"]),
            "here"
        );
    }
    // One that does needs it.
    other.dockerfile(&format!("FROM {base}\nCOPY file /file\n"));
    let before = downloads();
    other.ok(&["build", "-q", "ctx"]);
    assert!(downloads() > before, "{}", registry.log());
}

/// An id is that of an image's config; which layers go with it, the first manifest says.
#[test]
fn forged_archives_do_not_take_the_id_of_an_image() {
    let kiln = need!(Kiln::for_builds(program()));
    let build = |word: &str| {
        kiln.build_shell(word, &format!("RUN echo {word} > /word"));
        let layout = format!("type=oci,tar=false,dest={word}");
        kiln.ok(&["build", "-o", &layout, "ctx"]);
    };
    build("genuine");
    build("other");
    let id = kiln.ok(&["inspect", "-f", "{{.Id}}", "genuine"]);
    let read = |path: &str| -> Value {
        serde_json::from_slice(&fs::read(kiln.scratch.join(path)).unwrap()).unwrap()
    };
    let blob = |digest: &Value| format!("blobs/sha256/{}", &digest.as_str().unwrap()[7..]);
    let manifest_of = |layout: &str| {
        let index = read(&format!("{layout}/index.json"));
        read(&format!(
            "{layout}/{}",
            blob(&index["manifests"][0]["digest"])
        ))
    };
    // The other's files, and the config of the genuine one.
    let mut manifest = manifest_of("other");
    manifest["config"] = manifest_of("genuine")["config"].clone();
    let config = blob(&manifest["config"]["digest"]);
    let [from, to] = ["genuine", "other"].map(|name| kiln.scratch.join(name).join(&config));
    fs::copy(from, to).unwrap();
    let bytes = serde_json::to_vec(&manifest).unwrap();
    let digest = kiln_oci::Sha256::of(&bytes).to_string();
    let place = format!("other/{}", blob(&Value::from(digest.clone())));
    fs::write(kiln.scratch.join(place), &bytes).unwrap();
    let mut index = read("other/index.json");
    index["manifests"][0]["digest"] = Value::from(digest);
    index["manifests"][0]["size"] = Value::from(bytes.len());
    let bytes = serde_json::to_vec(&index).unwrap();
    fs::write(kiln.scratch.join("other/index.json"), bytes).unwrap();
    kiln.run(&["load", "-i", "other"]);
    assert_eq!(
        kiln.ok(&["run", "--rm", &id, "sh", "-c", "read w < /word; echo $w"]),
        "genuine"
    );
    // Nor its text as a name.
    for name in [&id, "sha256:abc"] {
        let ended = kiln.run(&["tag", "other", name]);
        assert_eq!(ended.code, 1, "{ended:#?}");
        assert!(
            ended.stderr.contains("it would read like an image id"),
            "{ended:#?}"
        );
    }
}
