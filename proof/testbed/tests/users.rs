//! Ordinary users: who they are, what they may do, and that others cannot get in their way.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use kiln_testbed::{
    busybox, copy_for_everyone, need, need_root, ordinary_user, run, run_and_read,
    user_without_subids,
};

#[test]
fn an_ordinary_user_is_not_root_and_has_a_clean_home() {
    let user = need!(ordinary_user());
    let uid = run_and_read(user.command("id").arg("--user"));
    assert_eq!(uid, user.uid().to_string());
    assert_ne!(user.uid(), 0);

    run(user.command("touch").arg("mine"));
    let file = fs::metadata(user.home().join("mine")).unwrap();
    assert_eq!((file.uid(), file.gid()), (user.uid(), user.gid()));

    let environment = run_and_read(&mut user.command("env"));
    assert!(environment.contains(&format!("HOME={}", user.home().display())));
    assert!(
        !environment.contains("CARGO"),
        "nothing of the test's own environment"
    );

    let home = user.home().to_owned();
    drop(user);
    assert!(!home.exists());
}

#[test]
fn ranges_tell_the_two_users_apart() {
    need!(need_root());
    let with = need!(ordinary_user());
    let without = need!(user_without_subids());
    for table in ["/etc/subuid", "/etc/subgid"] {
        let text = fs::read_to_string(table).unwrap();
        let has = |name: &str| {
            text.lines()
                .any(|line| line.split(':').next() == Some(name))
        };
        assert!(has(with.name()), "{table}");
        assert!(!has(without.name()), "{table}");
    }
}

#[test]
fn files_of_subordinate_ids_vanish_with_their_directory() {
    let user = need!(ordinary_user());
    let scratch = user.scratch();
    let path = scratch.path().to_owned();
    // In its user namespace the user is root and may give files away.
    let made = user
        .command("unshare")
        .args(["--user", "--map-root-user", "--map-auto", "sh", "-c"])
        .arg("mkdir closed && touch closed/file && chown -R 5:5 closed && chmod 0 closed")
        .current_dir(&path)
        .output()
        .unwrap();
    if !made.status.success() {
        kiln_testbed::skip!("no user namespaces for {}", user.name());
    }
    assert_ne!(fs::metadata(path.join("closed")).unwrap().uid(), user.uid());
    drop(scratch);
    assert!(!path.exists());
}

#[test]
fn every_user_may_run_a_copied_program() {
    let user = need!(ordinary_user());
    let (_directory, copy) = copy_for_everyone(&need!(busybox()));
    assert_eq!(
        run_and_read(user.command(&copy).args(["echo", "runs"])),
        "runs"
    );
    assert!(copy.starts_with(Path::new("/")));
}
