//! Reasons as sentences.

use kiln_solver::{ChangedFile, FileDifference, FilesFrom, Reason};

use super::lines::ShownReasons;

/// Characters of a value that are shown, and of what is the same in front of a difference.
const SHOWN: usize = 60;
const LEAD: usize = 12;
/// Files named in one sentence.
const IN_ONE_SENTENCE: usize = 3;

/// Returns why a step ran, a line each.
pub(super) fn sentences(because: &[Reason], extent: ShownReasons) -> Vec<String> {
    match extent {
        ShownReasons::First => because.first().map(sentence).into_iter().collect(),
        ShownReasons::All => because.iter().flat_map(all_of).collect(),
    }
}

/// Returns a reason with everything that is known of it.
fn all_of(reason: &Reason) -> Vec<String> {
    let Reason::Files {
        from,
        changes,
        more,
    } = reason
    else {
        return vec![sentence(reason)];
    };
    let mut lines = Vec::new();
    match (from, changes.is_empty()) {
        (_, true) => lines.push(sentence(reason)),
        (FilesFrom::Context, false) => {}
        (from, false) => lines.push(source(from)),
    }
    lines.extend(changes.iter().map(change));
    if *more > 0 {
        lines.push(format!("and {}", files(*more)));
    }
    lines
}

/// Returns a reason in one sentence.
pub(super) fn sentence(reason: &Reason) -> String {
    match reason {
        Reason::NoCache => "--no-cache".to_owned(),
        Reason::NoCacheFilter { stage } => format!("--no-cache-filter={stage}"),
        Reason::New => "never built before".to_owned(),
        Reason::NewPlatform { platform } => format!("never built on {platform}"),
        Reason::Ingredient { name, before, now } => {
            ingredient(name, before.as_deref(), now.as_deref())
        }
        Reason::Files {
            from,
            changes,
            more,
        } => {
            let named = named(changes, *more);
            match (from, named) {
                (FilesFrom::Context, Some(named)) => named,
                (FilesFrom::Context, None) => "the files it reads changed".to_owned(),
                (from, Some(named)) => format!("{}: {named}", source(from)),
                (from, None) => source(from),
            }
        }
        Reason::Base {
            image,
            image_before,
            before,
            now,
        } => match (image_before, before, now) {
            (Some(other), _, _) => format!("base was {other}, now {image}"),
            (None, Some(before), Some(now)) => {
                format!("base {image} moved from {before} to {now}")
            }
            (None, None, _) => format!("base was scratch, now {image}"),
            (None, Some(before), None) => format!("base was {before}, now {image}"),
        },
        Reason::Parent { step } => format!("the step before it came out differently: {step}"),
        Reason::RecordGone => "its last result is not in the cache any more".to_owned(),
        Reason::LayerGone => "its layer was missing from the store".to_owned(),
        Reason::Evicted { at, because } => {
            let time = at.to_string();
            let day = time.split('T').next().unwrap_or(&time);
            format!("evicted on {day} because of {because}")
        }
    }
}

fn ingredient(name: &str, before: Option<&str>, now: Option<&str>) -> String {
    match (before, now) {
        (Some(before), Some(now)) => {
            let (before, now) = excerpts(before, now);
            format!("{name} was {before}, now {now}")
        }
        (None, Some(now)) => format!("{name} is new: {}", excerpts("", now).1),
        (Some(before), None) => format!("{name} is gone, was {}", excerpts(before, "").0),
        (None, None) => format!("{name} changed"),
    }
}

/// Returns what two values are from shortly before their first difference on.
fn excerpts(before: &str, now: &str) -> (String, String) {
    // Nearly every command begins so, and no person wrote it.
    const SHELL: &str = "/bin/sh -c ";
    let (before, now) = match (before.strip_prefix(SHELL), now.strip_prefix(SHELL)) {
        (Some(before), Some(now)) => (before, now),
        _ => (before, now),
    };
    let equal = before.chars().zip(now.chars()).take_while(|(a, b)| a == b);
    let skipped = match equal.count() {
        few if few <= 2 * LEAD => 0,
        many => many - LEAD,
    };
    let excerpt = |text: &str| {
        let text = text.replace(['\n', '\t'], " ");
        if text.is_empty() {
            return "\"\"".to_owned();
        }
        let mut shown = match skipped {
            0 => String::new(),
            _ => "…".to_owned(),
        };
        shown.extend(text.chars().skip(skipped).take(SHOWN));
        if text.chars().count() > skipped + SHOWN {
            shown.push('…');
        }
        shown
    };
    (excerpt(before), excerpt(now))
}

fn source(from: &FilesFrom) -> String {
    match from {
        FilesFrom::Context => "the files it reads changed".to_owned(),
        FilesFrom::Stage(stage) => format!("stage \"{stage}\" came out differently"),
        FilesFrom::Elsewhere(name) => format!("{name} changed"),
    }
}

/// Names the first files; none if none is known by name.
fn named(changes: &[ChangedFile], more: usize) -> Option<String> {
    let shown = changes.len().min(IN_ONE_SENTENCE);
    let mut sentence = String::new();
    for (number, file) in changes.iter().take(shown).enumerate() {
        if number > 0 {
            sentence.push_str(", ");
        }
        sentence.push_str(&change(file));
    }
    let more = more + changes.len() - shown;
    if more > 0 {
        sentence.push_str(&format!(" and {}", files(more)));
    }
    (shown > 0).then_some(sentence)
}

fn files(count: usize) -> String {
    match count {
        1 => "1 more file".to_owned(),
        count => format!("{count} more files"),
    }
}

fn change(file: &ChangedFile) -> String {
    let what = match file.change {
        FileDifference::Added => "added".to_owned(),
        FileDifference::Changed => "changed".to_owned(),
        FileDifference::Deleted => "deleted".to_owned(),
        FileDifference::Mode { before, now } => {
            format!("changed its mode from {before:04o} to {now:04o}")
        }
    };
    // Any byte may stand in a name.
    let path = file.path.replace(char::is_control, "?");
    format!("{path} {what}")
}

#[cfg(test)]
mod tests {
    use kiln_oci::{Sha256, Timestamp};

    use super::*;

    fn said(name: &str, before: Option<&str>, now: Option<&str>) -> String {
        sentence(&Reason::Ingredient {
            name: name.to_owned(),
            before: before.map(str::to_owned),
            now: now.map(str::to_owned),
        })
    }

    #[test]
    fn ingredients_are_compared_where_they_differ() {
        assert_eq!(
            said("ARG VERSION", Some("1.2"), Some("1.3")),
            "ARG VERSION was 1.2, now 1.3"
        );
        assert_eq!(said("ENV A", None, Some("b")), "ENV A is new: b");
        assert_eq!(said("user", Some("me"), None), "user is gone, was me");
        assert_eq!(said("ARG A", Some(""), Some("b")), "ARG A was \"\", now b");
        assert_eq!(
            said(
                "command",
                Some("/bin/sh -c make"),
                Some("/bin/sh -c make all")
            ),
            "command was make, now make all"
        );
        let long = "apt-get install -y --no-install-recommends ";
        assert_eq!(
            said(
                "command",
                Some(&format!("{long}curl")),
                Some(&format!("{long}wget"))
            ),
            "command was …-recommends curl, now …-recommends wget"
        );
    }

    #[test]
    fn files_are_named_and_counted() {
        let change = |change, path: &str| ChangedFile {
            change,
            path: path.to_owned(),
        };
        let five = vec![
            change(FileDifference::Changed, "src/app.js"),
            change(FileDifference::Added, "b"),
            change(FileDifference::Deleted, "c"),
            change(FileDifference::Changed, "d"),
            change(FileDifference::Changed, "e\n"),
        ];
        let files = |from, changes: &[ChangedFile], more| Reason::Files {
            from,
            changes: changes.to_vec(),
            more,
        };
        let stage = FilesFrom::Stage("build".to_owned());
        assert_eq!(
            sentence(&files(FilesFrom::Context, &five[..1], 0)),
            "src/app.js changed"
        );
        let all = files(stage.clone(), &five, 4);
        assert_eq!(
            sentence(&all),
            "stage \"build\" came out differently: src/app.js changed, b added, c deleted and 6 more files"
        );
        assert_eq!(
            sentences(&[all], ShownReasons::All),
            [
                "stage \"build\" came out differently",
                "src/app.js changed",
                "b added",
                "c deleted",
                "d changed",
                "e? changed",
                "and 4 more files",
            ]
        );
        assert_eq!(
            sentence(&files(stage, &[], 0)),
            "stage \"build\" came out differently"
        );
    }

    #[test]
    fn losses_and_moves_are_told_apart() {
        let at = Timestamp::from_seconds(1_795_000_000);
        let because = "the 10 GB limit".to_owned();
        assert_eq!(
            sentence(&Reason::Evicted { at, because }),
            "evicted on 2026-11-18 because of the 10 GB limit"
        );
        let base = |image_before: Option<&str>, before, now| Reason::Base {
            image: "node:20".to_owned(),
            image_before: image_before.map(str::to_owned),
            before,
            now,
        };
        let (one, two) = (Sha256::of(b"1"), Sha256::of(b"2"));
        assert_eq!(
            sentence(&base(None, Some(one), Some(two))),
            format!("base node:20 moved from {one} to {two}")
        );
        assert_eq!(
            sentence(&base(Some("node:18"), Some(one), Some(two))),
            "base was node:18, now node:20"
        );
        assert_eq!(
            sentence(&base(None, None, Some(one))),
            "base was scratch, now node:20"
        );
    }
}
