//! What cache mounts held, from one machine to another.

use super::*;

/// A command that says what it finds in a cache mount, and leaves something of every kind.
pub(super) const WITH_MOUNT: &str = "FROM scratch AS seed\nCOPY busybox /bin/sh\n\
     RUN mkdir /seed && echo planted > /seed/it\n\
     FROM scratch\nCOPY busybox /bin/sh\nARG ROUND=one\n\
     RUN --mount=type=cache,id=deps,target=/c,uid=7,gid=8,mode=0710 \
     --mount=type=cache,from=seed,source=/seed,target=/s \
     if [ -e /c/a ]; then \
     echo found $(cat /c/a /c/link /s/it) $(stat -c '%a %u:%g %h' /c/a /c/dir /c); \
     else echo fresh $(cat /s/it); mkdir -m 1750 /c/dir; echo left-$ROUND > /c/a; \
     chown 3:4 /c/a; chmod 4751 /c/a; ln /c/a /c/dir/again; ln -s a /c/link; chmod 711 /c; \
     echo grown-$ROUND > /s/it; fi; echo $ROUND > /made\n";

/// What the next command finds then.
const FOUND: &str = "left-one left-one grown-one 4751 3:4 2 1750 0:0 2 711 7:8 3";

#[test]
fn contents_of_cache_mounts_begin_them_elsewhere() {
    let machines = need!(Machines::new());
    machines.dockerfile(WITH_MOUNT);
    let Machines {
        registry,
        first,
        second,
    } = &machines;
    let cache = registry.image("team/app:cache");
    let to = format!("type=registry,ref={cache},mode=max,mounts=true");
    let ended = build(first, &["--cache-to", &to]);
    assert_eq!(printed(&ended, "fresh"), ["planted"], "{ended:#?}");

    let two = ["--build-arg=ROUND=two", "--cache-from", &cache];
    let ended = build(second, &two);
    assert_eq!(printed(&ended, "found"), [FOUND], "{ended:#?}");
    // It is a mount like any other by now, and asks for nothing.
    let requests = machines.requests(|| {
        let ended = build(second, &["--build-arg=ROUND=three"]);
        assert_eq!(printed(&ended, "found"), [FOUND], "{ended:#?}");
    });
    assert_eq!(requests, [""; 0]);

    // One whose steps are all known has no use for it.
    let third = need!(machines.another());
    let requests = machines.requests(|| {
        let ended = build(&third, &["--cache-from", &cache]);
        assert_eq!(ran(&ended), set(&[]));
    });
    assert_eq!(downloads(&requests).len(), 1, "{requests:?}");
    assert!(!third.scratch.join("state/cachemounts").exists());
    // What is there already stays, and without the cache there is nothing.
    let fourth = need!(machines.another());
    let ended = build(&fourth, &["--build-arg=ROUND=four"]);
    assert_eq!(printed(&ended, "fresh"), ["planted"], "{ended:#?}");
    let ended = build(&fourth, &two);
    let own = FOUND.replace("one", "four");
    assert_eq!(printed(&ended, "found"), [own], "{ended:#?}");
    let fifth = need!(machines.another());
    let ended = build(&fifth, &[&["--no-cache"], &two[..]].concat());
    assert_eq!(printed(&ended, "fresh"), ["planted"], "{ended:#?}");
    let ended = build(&fifth, &["--build-arg=ROUND=five", "--cache-from", &cache]);
    let own = FOUND.replace("one", "two");
    assert_eq!(printed(&ended, "found"), [own], "{ended:#?}");

    let ended = first.run(&["build", "--cache-to=type=inline,mounts=true", "ctx"]);
    assert_eq!(ended.code, 125, "{ended:#?}");
    assert!(
        ended.stderr.contains("an image cannot hold cache mounts"),
        "{ended:#?}"
    );
}

/// A build that ran nothing must not take from the next cache what the last one had.
#[test]
fn unused_cache_mounts_go_on_to_the_next_cache() {
    let machines = need!(Machines::new());
    machines.dockerfile(WITH_MOUNT);
    let Machines {
        registry,
        first,
        second,
    } = &machines;
    let (one, two) = (registry.image("app:one"), registry.image("app:two"));
    let to = |name: &str| format!("type=registry,ref={name},mode=max,mounts=true,compression=zstd");
    build(first, &["--cache-to", &to(&one)]);
    let requests = machines.requests(|| {
        let ended = build(second, &["--cache-from", &one, "--cache-to", &to(&two)]);
        assert_eq!(ran(&ended), set(&[]));
    });
    assert_eq!(downloads(&requests).len(), 1, "{requests:?}");
    let directory = second.scratch.join("cache");
    build(
        second,
        &[
            "--cache-from",
            &two,
            "--cache-to",
            &format!(
                "type=local,dest={},mode=max,mounts=true",
                directory.display()
            ),
        ],
    );
    for from in [two, format!("type=local,src={}", directory.display())] {
        let third = need!(machines.another());
        let ended = build(&third, &["--build-arg=ROUND=two", "--cache-from", &from]);
        assert_eq!(printed(&ended, "found"), [FOUND], "{from}: {ended:#?}");
    }
}

#[test]
fn contents_lost_by_a_cache_cost_a_warning() {
    let machines = need!(Machines::new());
    machines.dockerfile(
        "FROM scratch\nCOPY busybox /bin/sh\nARG ROUND=one\n\
         RUN --mount=type=cache,id=deps,target=/c \
         [ -e /c/a ] && echo found it || echo fresh it; echo only-here > /c/a; echo $ROUND\n",
    );
    let Machines { first, second, .. } = &machines;
    let directory = first.scratch.join("cache");
    let to = format!(
        "type=local,dest={},mounts=true,compression=uncompressed",
        directory.display()
    );
    let from = format!("type=local,src={}", directory.display());
    build(first, &["--cache-to", &to]);
    let has_it = |bytes: &[u8]| bytes.windows(9).position(|window| window == b"only-here");
    let holds_it = |path: &PathBuf| {
        let bytes = fs::read(path).unwrap();
        has_it(&bytes).is_some() && !bytes.starts_with(b"{")
    };
    let paths = blobs(&directory)
        .into_iter()
        .map(|name| directory.join("blobs/sha256").join(name));
    let found: Vec<PathBuf> = paths.filter(holds_it).collect();
    let [path] = found.as_slice() else {
        panic!("{found:?}");
    };
    let mut bytes = fs::read(path).unwrap();
    let place = has_it(&bytes).unwrap();
    bytes[place] ^= 1;
    fs::write(path, bytes).unwrap();
    let third = need!(machines.another());
    let two = ["--build-arg=ROUND=two", "--cache-from", &from];
    for kiln in [second, &third] {
        let ended = build(kiln, &two);
        let warning = "what the cache has of cache mount deps is not used";
        assert!(ended.stderr.contains(warning), "{ended:#?}");
        assert_eq!(printed(&ended, "fresh"), ["it"], "{ended:#?}");
        let _ = fs::remove_file(path);
    }
}

/// A step that has a mount goes on as if it were not read, and the export waits for it.
#[test]
fn mounts_are_exported_when_no_step_has_them() {
    let machines = need!(Machines::new());
    machines.dockerfile(
        "FROM scratch\nCOPY busybox /bin/sh\nARG ROUND=one\n\
         RUN --mount=type=cache,id=deps,target=/c \
         echo found $(cat /c/a); [ $ROUND != slow ] || \
         { echo half > /c/a; sleep 2; }; echo whole-$ROUND > /c/a\n",
    );
    let Machines { first, second, .. } = &machines;
    build(first, &[]);
    let mount = first.scratch.join("state/cachemounts");
    let mount = mount.join(&names(&mount)[0]).join("0-0/data/a");
    assert_eq!(fs::read_to_string(&mount).unwrap(), "whole-one\n");
    let mut slow = first.command();
    slow.args(["build", "-q", "--build-arg=ROUND=slow", "ctx"]);
    let mut slow = slow.spawn().unwrap();
    while fs::read_to_string(&mount).unwrap() != "half\n" {
        std::thread::sleep(std::time::Duration::from_millis(5));
        assert_eq!(slow.try_wait().unwrap(), None);
    }
    let directory = first.scratch.join("cache");
    let to = format!("type=local,dest={},mounts=true", directory.display());
    let ended = build(first, &["--cache-to", &to]);
    assert_eq!(ran(&ended), set(&[]));
    let waited = "waiting for cache mount deps";
    assert!(ended.stderr.contains(waited), "{ended:#?}");
    assert!(slow.wait().unwrap().success());
    let from = format!("type=local,src={}", directory.display());
    let ended = build(second, &["--build-arg=ROUND=two", "--cache-from", &from]);
    assert_eq!(printed(&ended, "found"), ["whole-slow"], "{ended:#?}");
}
