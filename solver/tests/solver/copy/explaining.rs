//! Why steps ran, and what is kept of steps that did not.

use std::os::unix::fs::symlink;

use kiln_solver::{BuiltStep, ChangedFile, Fate, FileDifference, FilesFrom, Reason, StepError};
use kiln_solver::{CopySelectError, SolveError, Suggestion};

use super::bench::Bench;

/// Returns what became of the steps, in one word each.
fn fates(steps: &[BuiltStep]) -> Vec<&'static str> {
    let word = |step: &BuiltStep| match step.fate {
        Fate::NotNeeded => "not needed",
        Fate::Hit => "hit",
        Fate::Found => "found",
        Fate::Ran { .. } => "ran",
        Fate::Failed => "failed",
        Fate::NotReached => "not reached",
    };
    steps.iter().map(word).collect()
}

/// Returns the reason that files of the context changed.
fn context_files(changes: &[(FileDifference, &str)]) -> Reason {
    let changes = changes.iter().map(|(change, path)| ChangedFile {
        change: *change,
        path: (*path).to_owned(),
    });
    Reason::Files {
        from: FilesFrom::Context,
        changes: changes.collect(),
        more: 0,
    }
}

#[test]
fn first_build_runs_because_all_is_new_and_the_next_not_at_all() {
    let bench = Bench::new(&["a", "b"]);
    let text = "COPY a /a\nCOPY b /b";
    let first = bench.account(text);
    assert_eq!(fates(&first), ["ran", "ran"]);
    for step in &first {
        assert_eq!(step.because, [Reason::New], "{}", step.name);
        assert!(step.key.is_some(), "{}", step.name);
    }
    let second = bench.account(text);
    assert_eq!(fates(&second), ["not needed", "hit"]);
    for (before, now) in first.iter().zip(&second) {
        assert_eq!(now.because, [], "{}", now.name);
        assert_eq!(now.key, before.key, "{}", now.name);
    }
}

#[test]
fn changed_files_are_named_with_what_happened_to_them() {
    let bench = Bench::new(&["d/changed", "d/kept", "d/mode", "d/deleted", "e"]);
    let text = "COPY d /elsewhere\nCOPY e /e";
    bench.account(text);
    bench.write("d/changed", "otherwise");
    bench.write("d/added", "new");
    bench.mode("d/mode", 0o600);
    std::fs::remove_file(bench.path("d/deleted")).unwrap();
    let steps = bench.account(text);
    assert_eq!(fates(&steps), ["ran", "ran"]);
    let mode = FileDifference::Mode {
        before: 0o644,
        now: 0o600,
    };
    let expected = context_files(&[
        (FileDifference::Added, "d/added"),
        (FileDifference::Changed, "d/changed"),
        (FileDifference::Deleted, "d/deleted"),
        (mode, "d/mode"),
    ]);
    assert_eq!(steps[0].because, [expected]);
    let parent = Reason::Parent {
        step: steps[0].name.clone(),
    };
    assert_eq!(steps[1].because, [parent]);
}

#[test]
fn changed_instruction_is_named_with_both_texts() {
    let bench = Bench::new(&["a"]);
    bench.account("COPY a /a");
    let steps = bench.account("COPY --chmod=600 a /a");
    assert_eq!(fates(&steps), ["ran"]);
    let [
        Reason::Ingredient {
            before: None,
            now: Some(now),
            ..
        },
    ] = steps[0].because.as_slice()
    else {
        panic!("the mode is new: {:?}", steps[0].because);
    };
    assert!(now.contains("600"), "{now}");
}

#[test]
fn failed_selection_leaves_the_past_of_the_other_steps() {
    let bench = Bench::new(&["a", "b"]);
    let text = "COPY a /a\nCOPY b /b";
    let before = bench.account(text);
    std::fs::remove_file(bench.path("b")).unwrap();
    let failed = bench.account(text);
    assert_eq!(fates(&failed), ["not reached", "failed"]);
    for (before, now) in before.iter().zip(&failed) {
        assert_eq!(now.key, before.key, "{}", now.name);
        assert_eq!(now.because, []);
    }
    // So the next build still says what differed.
    bench.write("b", "again");
    let steps = bench.account(text);
    assert_eq!(fates(&steps), ["hit", "ran"]);
    let expected = context_files(&[(FileDifference::Changed, "b")]);
    assert_eq!(steps[1].because, [expected]);
}

#[test]
fn missing_source_is_told_with_what_may_have_been_meant() {
    let bench = Bench::new(&["config.json", "d/hidden.json"]);
    let meant = |argument: &str, ignore: &str| {
        let text = format!("FROM scratch\nCOPY {argument} /\n");
        match bench.try_build(&text, ignore) {
            Err(SolveError::Step {
                source: StepError::Select(CopySelectError::Missing { meant, .. }),
                ..
            }) => meant,
            Err(other) => panic!("{argument}: {other}"),
            Ok(built) => panic!("{argument} was built: {:?}", built.lines),
        }
    };
    let similar = Suggestion::Similar("config.json".to_owned());
    assert_eq!(meant("confg.json", ""), similar);
    let similar = Suggestion::Similar("d/hidden.json".to_owned());
    assert_eq!(meant("d/hiden.json", ""), similar);
    assert_eq!(meant("d/hiden.json", "d/hidden.json"), Suggestion::Unknown);
    assert_eq!(meant("d/hidden.json", "d/hidden.json"), Suggestion::Ignored);
    assert_eq!(meant("nothing", ""), Suggestion::Unknown);
    symlink("d/nowhere", bench.path("link")).unwrap();
    symlink("d", bench.path("directory")).unwrap();
    let target = |link: &str, target: &str| Suggestion::LinkTarget {
        link: link.to_owned(),
        target: target.to_owned(),
    };
    assert_eq!(meant("link", ""), target("/link", "/d/nowhere"));
    assert_eq!(meant("link/x", ""), target("/link", "/d/nowhere/x"));
    assert_eq!(meant("directory/x", ""), target("/directory", "/d/x"));
    let similar = Suggestion::Similar("directory/hidden.json".to_owned());
    assert_eq!(meant("directory/hiden.json", ""), similar);
}

#[test]
fn arguments_that_copy_nothing_are_warned_of() {
    let bench = Bench::new(&["a", "d/b", "e/x"]);
    let warnings = |text: &str| bench.warnings(text);
    assert_eq!(warnings("COPY a d /o/"), Vec::<String>::new());
    assert_eq!(
        warnings("COPY a n* /o/"),
        ["[1/1] COPY a n* /o/: nothing is copied: \"n*\" matches no file"]
    );
    assert_eq!(warnings("COPY --parents a d/b /o/"), Vec::<String>::new());
    assert_eq!(
        warnings("COPY --parents a d/n* /o/"),
        ["[1/1] COPY --parents a d/n* /o/: nothing is copied: \"d/n*\" matches no file"]
    );
    // A directory of which nothing is left is copied as one.
    assert_eq!(warnings("COPY --exclude=x e /o/"), Vec::<String>::new());
}

#[test]
fn other_platform_explains_all_else() {
    let bench = Bench::new(&["a", "b"]);
    bench.account("RUN [\"a\"]");
    let steps = bench.account_for("linux/arm64", "RUN [\"b\"]");
    let now = Some("linux/arm64".to_owned());
    let before = Some("linux/amd64".to_owned());
    let name = "platform".to_owned();
    let reason = Reason::Ingredient { name, before, now };
    assert_eq!(steps[0].because, [reason]);
}

#[test]
fn files_of_an_earlier_stage_are_told_from_those_of_the_context() {
    let bench = Bench::new(&["a"]);
    let text = "COPY a /a\nFROM scratch\nCOPY --from=0 /a /b";
    bench.account(text);
    bench.write("a", "otherwise");
    let steps = bench.account(text);
    let change = |path: &str| ChangedFile {
        change: FileDifference::Changed,
        path: path.to_owned(),
    };
    let from_step = Reason::Files {
        from: FilesFrom::Stage("stage-0".to_owned()),
        changes: vec![change("/a")],
        more: 0,
    };
    assert_eq!(
        steps[0].because,
        [context_files(&[(FileDifference::Changed, "a")])]
    );
    assert_eq!(steps[1].because, [from_step]);
}
