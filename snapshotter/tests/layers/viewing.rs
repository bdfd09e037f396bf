//! `ParentView`: stacked layers without mounts.

use std::collections::BTreeMap;

use kiln_files::GuestPath;
use kiln_snapshotter::{
    FollowLast, Layer, LayerStore, ParentView, UserError, ViewError, find_home, find_identity,
    find_owner,
};
use kiln_tree::NodeKind;

use crate::sample::{describe, layer, path, store};

fn view(store: &LayerStore, layers: &[&[&str]]) -> ParentView {
    let layers: Vec<Layer> = layers.iter().map(|lines| layer(store, lines)).collect();
    ParentView::new(&layers).unwrap()
}

fn walk(view: &ParentView, directory: &str) -> Vec<String> {
    view.walk(&path(directory))
        .map(|located| describe(&located.entry))
        .collect()
}

fn read(view: &ParentView, file: &str) -> Option<String> {
    view.read(&path(file), 1000)
        .unwrap()
        .map(|bytes| String::from_utf8(bytes).unwrap())
}

/// OCI-018, OCI-019.
#[test]
fn upper_layers_hide_lower_ones() {
    let (_directory, store) = store();
    let view = view(
        &store,
        &[
            &[
                "a/", "a/x=1", "a/y=1", "b/", "b/x=1", "c/", "c/x=1", "d=1", "e/", "e/x=1", "top=1",
            ],
            &[
                "a/", "-a/x", "b/!", "b/z=2", "c=file", "d/", "d/n=2", "-e", "-nothing",
            ],
            &["a/", "a/x/", "a/x/new=3", "e/", "e/y=3"],
        ],
    );
    assert_eq!(
        walk(&view, ""),
        [
            "a/",
            "a/x/",
            "a/x/new 1",
            "a/y 1",
            "b/",
            "b/z 1",
            "c 4",
            "d/",
            "d/n 1",
            "e/",
            "e/y 1",
            "top 1"
        ]
    );
    for gone in ["b/x", "c/x", "e/x", "nothing", "a/x/1", "top/x"] {
        assert_eq!(view.get(&path(gone)), None, "{gone}");
    }
    assert_eq!(read(&view, "a/x/new").as_deref(), Some("3"));
    assert_eq!(read(&view, "top").as_deref(), Some("1"));
    let names = |directory: &str| -> Option<Vec<String>> {
        let names = view.list(&path(directory))?;
        Some(
            names
                .into_iter()
                .map(|name| String::from_utf8(name).unwrap())
                .collect(),
        )
    };
    assert_eq!(
        names(""),
        Some(["a", "b", "c", "d", "e", "top"].map(String::from).to_vec())
    );
    assert_eq!(names("a"), Some(["x", "y"].map(String::from).to_vec()));
    assert_eq!(names("b"), Some(vec!["z".to_owned()]));
    assert_eq!((names("c"), names("nothing")), (None, None));
    assert_eq!(walk(&view, "e"), ["e/y 1"]);
    assert_eq!(walk(&view, "c"), Vec::<String>::new());
}

#[test]
fn opaque_directories_hide_only_what_is_below() {
    let (_directory, store) = store();
    let view = view(
        &store,
        &[
            &["a/", "a/b/", "a/b/c=1", "a/d=1"],
            &["a/!", "a/b/", "a/b/e=2"],
            &["a/", "a/b/", "a/b/f=3"],
        ],
    );
    assert_eq!(walk(&view, ""), ["a/", "a/b/", "a/b/e 1", "a/b/f 1"]);
    assert_eq!(walk(&view, "a/b"), ["a/b/e 1", "a/b/f 1"]);
    assert_eq!(view.get(&path("a/b/c")), None);
}

#[test]
fn links_resolve_inside_the_root() {
    let (_directory, store) = store();
    let view = view(
        &store,
        &[
            &["usr/", "usr/lib/", "usr/lib/x=1", "lib->usr/lib", "f=1"],
            &[
                "abs->/usr/lib",
                "up->../../../usr",
                "loop->loop2",
                "loop2->loop",
                "dangling->usr/new/file",
                "rel/",
                "rel/up->../lib/./x",
                "slash->/",
            ],
        ],
    );
    let resolve = |text: &str, last| {
        let resolution = view.resolve(&path(text), last).unwrap();
        let missing: Vec<String> = resolution
            .missing()
            .iter()
            .map(ToString::to_string)
            .collect();
        format!(
            "{} {} [{}]",
            resolution.path,
            if resolution.found.is_some() {
                "is"
            } else {
                "not"
            },
            missing.join(" ")
        )
    };
    for (text, expected) in [
        ("", "/ is []"),
        ("lib/x", "/usr/lib/x is []"),
        ("abs/x", "/usr/lib/x is []"),
        ("up/lib", "/usr/lib is []"),
        ("rel/up", "/usr/lib/x is []"),
        ("slash/lib", "/usr/lib is []"),
        ("dangling", "/usr/new/file not [/usr/new /usr/new/file]"),
        ("lib/a/../b", "/usr/lib/b not [/usr/lib/b]"),
        ("new/a/b", "/new/a/b not [/new /new/a /new/a/b]"),
    ] {
        assert_eq!(resolve(text, FollowLast::Yes), expected, "{text}");
    }
    assert_eq!(resolve("abs", FollowLast::No), "/abs is []");
    assert_eq!(resolve("abs/x", FollowLast::No), "/usr/lib/x is []");
    let error = view.resolve(&path("loop/x"), FollowLast::Yes).unwrap_err();
    assert!(matches!(error, ViewError::Loop(_)), "{error}");
    let error = view.resolve(&path("f/x"), FollowLast::Yes).unwrap_err();
    assert_eq!(error.to_string(), "/f is not a directory");
}

/// OCI-021, across a stack.
#[test]
fn hard_links_keep_together() {
    let (_directory, store) = store();
    let view = view(
        &store,
        &[
            &["a/", "a/one=data", "b/", "b/two hard=a/one", "c hard=a/one"],
            &["a/", "-a/one"],
        ],
    );
    assert_eq!(walk(&view, ""), ["a/", "b/", "b/two 4", "c == b/two"]);
    assert_eq!(walk(&view, "b"), ["b/two 4"]);
    assert_eq!(read(&view, "c").as_deref(), Some("data"));
    assert!(matches!(
        view.get(&path("c")).unwrap().kind,
        NodeKind::File { size: 4, .. }
    ));
    let tree = view.subtree(&GuestPath::ROOT).unwrap();
    let expected = ["/", "a/", "b/", "b/two 4", "c == b/two"];
    assert_eq!(
        tree.iter().map(|e| describe(&e)).collect::<Vec<_>>(),
        expected
    );
}

#[test]
fn subtrees_have_digests_of_their_own() {
    let (_directory, store) = store();
    let one = view(&store, &[&["x/", "x/d/", "x/d/f=1", "x/d/g hard=x/d/f"]]);
    let two = view(
        &store,
        &[
            &["d/", "d/f=0", "d/old="],
            &["d/", "d/f=1", "d/g hard=d/f", "-d/old"],
        ],
    );
    let digest = |view: &ParentView, name: &str| {
        let subtree = view.subtree(&path(name));
        subtree.map(|tree| tree.layer_id())
    };
    assert_eq!(digest(&one, "x/d"), digest(&two, "d"));
    assert_ne!(digest(&one, "x"), digest(&two, "d"));
    assert_ne!(digest(&one, "x/d/f"), digest(&two, "d"));
    assert_eq!(digest(&one, "nothing"), None);
}

#[test]
fn reading_has_limits() {
    let (_directory, store) = store();
    let view = view(&store, &[&["f=12345", "d/"]]);
    assert_eq!(view.read(&path("nothing"), 9).unwrap(), None);
    let error = view.read(&path("f"), 4).unwrap_err();
    assert_eq!(error.to_string(), "/f has 5 bytes, more than 4");
    let error = view.read(&path("d"), 4).unwrap_err();
    assert_eq!(error.to_string(), "/d is not a regular file");
}

/// Random stacks against a map of paths.
#[test]
fn stacks_are_what_a_simple_model_says() {
    let (_directory, store) = store();
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = move |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    for _ in 0..60 {
        let mut model: BTreeMap<GuestPath, String> = BTreeMap::new();
        let mut layers = Vec::new();
        for number in 0..4 {
            let builder = store.builder().unwrap();
            let mut lines: BTreeMap<GuestPath, String> = BTreeMap::new();
            for _ in 0..random(8) {
                let depth = 1 + random(3);
                let mut place = GuestPath::ROOT;
                for level in 0..depth {
                    let next = place.join(format!("{}", random(3)));
                    let text = next.to_string()[1..].to_owned();
                    let what = match (level + 1 == depth, random(4)) {
                        (false, _) | (true, 0) => format!("{text}/"),
                        (true, 1) => format!("{text}/!"),
                        (true, 2) => format!("-{text}"),
                        _ => format!("{text}={number}"),
                    };
                    let directory = lines
                        .get(&next)
                        .is_none_or(|line| line.ends_with(['/', '!']));
                    if level + 1 < depth && !directory {
                        break;
                    }
                    lines.entry(next.clone()).or_insert(what);
                    place = next;
                }
            }
            let lines_sorted: Vec<&str> = lines.values().map(String::as_str).collect();
            crate::sample::add(&builder, &lines_sorted);
            for (place, line) in &lines {
                let is_below =
                    |other: &GuestPath| other != place && other.strip_prefix(place).is_some();
                if line.ends_with("/!") || !line.ends_with('/') {
                    model.retain(|other, _| !is_below(other));
                }
                if line.starts_with('-') {
                    model.remove(place);
                } else {
                    let text = place.to_string()[1..].to_owned();
                    let shown = if line.ends_with('/') || line.ends_with("/!") {
                        format!("{text}/")
                    } else {
                        format!("{text} 1")
                    };
                    model.insert(place.clone(), shown);
                }
            }
            layers.push(builder.finish().unwrap());
        }
        let view = ParentView::new(&layers).unwrap();
        let expected: Vec<String> = model.values().cloned().collect();
        assert_eq!(walk(&view, ""), expected);
        for place in model.keys() {
            assert!(view.get(place).is_some());
        }
        for a in 0..3 {
            for b in 0..3 {
                let place = path(&format!("{a}/{b}"));
                assert_eq!(view.get(&place).is_some(), model.contains_key(&place));
                let below: Vec<String> = model
                    .iter()
                    .filter(|(other, _)| **other != place && other.strip_prefix(&place).is_some())
                    .map(|(_, line)| line.clone())
                    .collect();
                assert_eq!(walk(&view, &format!("{a}/{b}")), below);
            }
        }
    }
}

fn users(store: &LayerStore) -> ParentView {
    view(
        store,
        &[&[
            "etc/",
            "etc/real=# comment\nroot:x:0:0:root:/root:/bin/sh\nweb:x:33:34:w:/var/www:/bin/sh\n\
             broken\nseven:x:1007:100::/home/7:\n",
            "etc/passwd->real",
            "etc/group=root:x:0:\nwww:x:34:\nextra:x:50:root,web\nmore:x:51: web\n",
        ]],
    )
}

/// DF: USER, and section 10 for HOME.
#[test]
fn users_are_found_as_runc_finds_them() {
    let (_directory, store) = store();
    let view = users(&store);
    for (text, uid, gid, groups, home) in [
        ("", 0, 0, &[50][..], "/root"),
        ("root", 0, 0, &[50], "/root"),
        ("web", 33, 34, &[50, 51], "/var/www"),
        ("33", 33, 34, &[50, 51], "/var/www"),
        ("web:root", 33, 0, &[], "/var/www"),
        ("web:51", 33, 51, &[], "/var/www"),
        ("seven", 1007, 100, &[], "/home/7"),
        ("4242", 4242, 0, &[], "/"),
        ("4242:77", 4242, 77, &[], "/"),
        (":www", 0, 34, &[], "/root"),
    ] {
        let found = find_identity(&view, text).unwrap();
        assert_eq!(
            (found.uid, found.gid, &*found.groups, found.home),
            (uid, gid, groups, path(home)),
            "{text}"
        );
    }
    for (text, message) in [
        (
            "nobodyx",
            "unable to find user nobodyx: no matching entries in passwd file",
        ),
        (
            "web:none",
            "unable to find group none: no matching entries in group file",
        ),
        (
            "2147483648",
            "uids and gids must be in range 0-2147483647, not 2147483648",
        ),
    ] {
        assert_eq!(find_identity(&view, text).unwrap_err().to_string(), message);
    }
    assert_eq!(find_home(&view, 33).unwrap(), path("/var/www"));
    let nobody = ParentView::default();
    assert_eq!(find_identity(&nobody, "").unwrap().home, path("/"));
    let error = find_identity(&nobody, "root").unwrap_err();
    assert!(matches!(error, UserError::UnknownUser(_)), "{error}");
}

/// docs/spec/dockerfile.md 7.3.
#[test]
fn owners_are_found_as_chown_wants_them() {
    let (_directory, store) = store();
    let view = users(&store);
    for (text, uid, gid) in [
        ("web", 33, 34),
        ("33", 33, 33),
        ("web:extra", 33, 50),
        ("web:7", 33, 7),
        (":www", 0, 34),
        ("root", 0, 0),
        ("nobodyx", 0, 0),
        ("web:nogroup", 33, 34),
        ("33:nogroup", 33, 33),
        (":nogroup", 0, 0),
        ("1:2", 1, 2),
    ] {
        let owner = find_owner(&view, text).unwrap();
        assert_eq!((owner.uid, owner.gid), (uid, gid), "{text}");
    }
}
