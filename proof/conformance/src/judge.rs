//! Expectation against outcome.

use kiln_testbed::differences;
use serde_json::Value;

use crate::builder::Outcome;
use crate::case::{Case, Disagreement};
use crate::{Image, Peer};

/// How a builder did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// As expected.
    Passes,
    /// Not as expected, but as the case lists.
    Differs {
        /// Why.
        reason: String,
    },
    /// Refused, as the case lists.
    Unsupported {
        /// Why.
        reason: String,
    },
    /// Not tried, as the case asks.
    Skipped {
        /// Why.
        reason: String,
    },
    /// kiln cannot do this yet.
    Waiting {
        /// What it lacks.
        needs: String,
        /// What is not as expected; nothing if the case need wait no longer.
        differences: Vec<String>,
    },
    /// Neither as expected nor as listed.
    Wrong {
        /// What is not as expected or as listed.
        differences: Vec<String>,
    },
}

/// Compares what kiln (no peer) or a peer made of a case with what is expected and listed.
/// `images` are those that the result may have grown from.
pub fn judge(case: &Case, peer: Option<Peer>, outcome: &Outcome, images: &[Image]) -> Verdict {
    let found = differ(case, peer, outcome, images);
    let Some(peer) = peer else {
        return match &case.needs {
            Some(needs) => Verdict::Waiting {
                needs: needs.clone(),
                differences: found,
            },
            None if found.is_empty() => Verdict::Passes,
            None => Verdict::Wrong { differences: found },
        };
    };
    let wrong = |line: &str| Verdict::Wrong {
        differences: vec![line.to_owned()],
    };
    match peer.disagreement(case) {
        None if found.is_empty() => Verdict::Passes,
        None => Verdict::Wrong { differences: found },
        Some(Disagreement::Skipped { skipped }) => Verdict::Skipped {
            reason: skipped.clone(),
        },
        Some(Disagreement::Unsupported { unsupported }) => {
            if unsupported.is_empty() {
                wrong("no reason is given")
            } else if outcome.image.is_some() || case.error.is_some() {
                wrong("listed as unsupported, but it builds, or is expected to fail")
            } else {
                Verdict::Unsupported {
                    reason: unsupported.clone(),
                }
            }
        }
        Some(Disagreement::Differs { reason, differs }) => {
            if reason.is_empty() {
                wrong("no reason is given")
            } else if *differs == found {
                Verdict::Differs {
                    reason: reason.clone(),
                }
            } else {
                let listed = differs.iter().map(|line| format!("listed {line}"));
                let found = found.iter().map(|line| format!("found  {line}"));
                Verdict::Wrong {
                    differences: listed.chain(found).collect(),
                }
            }
        }
    }
}

/// Returns what is not as expected: `-` is missing, `+` is there instead.
pub(crate) fn differ(
    case: &Case,
    peer: Option<Peer>,
    outcome: &Outcome,
    images: &[Image],
) -> Vec<String> {
    let mut found = match (&case.error, &outcome.image) {
        (Some(part), None) => {
            // buildah has words of its own.
            if peer == Some(Peer::Buildah) || outcome.output.contains(part) {
                Vec::new()
            } else {
                vec![format!("- error: {part}"), "+ another error".to_owned()]
            }
        }
        (Some(part), Some(_)) => vec![format!("- error: {part}"), "+ builds".to_owned()],
        (None, None) => vec!["- builds".to_owned(), "+ fails".to_owned()],
        (None, Some(image)) => compare(case, peer, image, images),
    };
    if peer.is_none() {
        let printed = |part: &&String| outcome.output.contains(part.as_str());
        found.extend(
            (case.prints.iter().filter(|part| !printed(part)))
                .map(|part| format!("- prints: {part}")),
        );
        found.extend((case.hides.iter().filter(printed)).map(|part| format!("+ prints: {part}")));
    }
    found
}

fn compare(case: &Case, peer: Option<Peer>, image: &Image, images: &[Image]) -> Vec<String> {
    let nothing = Image::scratch();
    let base = image.base(images).unwrap_or(&nothing);
    let habits = |lines: Vec<String>| match peer {
        Some(Peer::Buildah) => without_habits(lines),
        _ => lines,
    };
    let section = |expected: &Option<String>, found: &dyn Fn() -> Vec<String>| match expected {
        None => Vec::new(),
        Some(text) => {
            let expected: Vec<String> = text.lines().map(str::to_owned).collect();
            differences(&habits(expected), &habits(found()))
        }
    };
    let mut found = section(&case.tree, &|| image.tree(base, &case.times));
    found.extend(section(&case.config, &|| image.config()));
    // buildah writes histories in the style of older builders.
    if peer != Some(Peer::Buildah) {
        let history = image.history(base);
        let expected: Option<Vec<&str>> = case.history.as_ref().map(|text| text.lines().collect());
        let mut lines = section(&case.history, &|| history.clone());
        // A difference of sets overlooks order and repetition.
        if lines.is_empty() && expected.is_some_and(|expected| expected != history) {
            lines = vec!["the history has another order".to_owned()];
        }
        found.extend(lines);
    }
    found
}

/// Drops what buildah does everywhere, so that cases need not list it.
pub(crate) fn without_habits(lines: Vec<String>) -> Vec<String> {
    /// Mount points that buildah makes and leaves in the image.
    const MOUNT_POINTS: [&str; 4] = [
        "/etc/hostname file ",
        "/etc/hosts file ",
        "/etc/resolv.conf file ",
        "/run directory ",
    ];
    /// Relics that either BuildKit or buildah's Docker format writes, and the working directory
    /// that BuildKit writes on scratch.
    const RELICS: [&str; 4] = [
        "ArgsEscaped: ",
        "Hostname: ",
        "Image: ",
        "WorkingDir: \"/\"",
    ];
    lines
        .into_iter()
        .filter(|line| {
            let begins = |parts: &[&str]| parts.iter().any(|part| line.starts_with(part));
            !begins(&MOUNT_POINTS) && !begins(&RELICS)
        })
        .filter_map(|line| {
            if let Some(variables) = line.strip_prefix("Env: ") {
                // It appends what BuildKit replaces in place.
                return Some(format!("Env: {}", sorted(variables)));
            }
            // Its signature.
            if let Some(labels) = line.strip_prefix("Labels: ") {
                let mut labels: Value = serde_json::from_str(labels).unwrap_or_default();
                let members = labels.as_object_mut()?;
                members.shift_remove("io.buildah.version");
                return (!members.is_empty()).then(|| format!("Labels: {labels}"));
            }
            Some(line)
        })
        .collect()
}

fn sorted(array: &str) -> String {
    let mut items: Vec<String> = serde_json::from_str(array).unwrap_or_default();
    items.sort();
    Value::from(items).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case(more: &str) -> Case {
        let text = format!("about = 'a test'\nstatements = []\nerror = 'no luck'\n{more}");
        toml::from_str(&text).unwrap()
    }

    fn failure(output: &str) -> Outcome {
        Outcome {
            image: None,
            output: output.to_owned(),
        }
    }

    fn success() -> Outcome {
        Outcome {
            image: Some(Image::scratch()),
            output: String::new(),
        }
    }

    fn wrong(differences: &[&str]) -> Verdict {
        Verdict::Wrong {
            differences: differences.iter().map(ToString::to_string).collect(),
        }
    }

    #[test]
    fn errors_must_have_the_expected_words_except_those_of_buildah() {
        let other_words = wrong(&["- error: no luck", "+ another error"]);
        let case = case("");
        for (peer, output, verdict) in [
            (None, "Error: no luck today", Verdict::Passes),
            (None, "bad luck", other_words.clone()),
            (Some(Peer::BuildKit), "bad luck", other_words),
            (Some(Peer::Buildah), "bad luck", Verdict::Passes),
        ] {
            assert_eq!(judge(&case, peer, &failure(output), &[]), verdict);
        }
        assert_eq!(
            judge(&case, Some(Peer::Buildah), &success(), &[]),
            wrong(&["- error: no luck", "+ builds"])
        );
    }

    #[test]
    fn a_listed_difference_must_be_the_one_that_is_found() {
        let listed =
            case("[buildah]\nreason = 'is lucky'\ndiffers = ['- error: no luck', '+ builds']\n");
        let peer = Some(Peer::Buildah);
        let reason = "is lucky".to_owned();
        assert_eq!(
            judge(&listed, peer, &success(), &[]),
            Verdict::Differs { reason }
        );
        // It has learned since: the list is stale.
        assert!(matches!(
            judge(&listed, peer, &failure("no luck"), &[]),
            Verdict::Wrong { .. }
        ));
        let without_reason = case("[buildah]\nunsupported = ''\n");
        assert_eq!(
            judge(&without_reason, peer, &success(), &[]),
            wrong(&["no reason is given"])
        );
    }

    #[test]
    fn output_of_kiln_alone_is_judged() {
        let case = case("prints = ['seen']\nhides = ['secret']\n");
        let output = failure("no luck, but a secret");
        assert_eq!(
            judge(&case, None, &output, &[]),
            wrong(&["- prints: seen", "+ prints: secret"])
        );
        assert_eq!(
            judge(&case, Some(Peer::BuildKit), &output, &[]),
            Verdict::Passes
        );
    }

    #[test]
    fn a_case_waits_for_kiln_alone() {
        let case = case("needs = 'luck'\n");
        let waiting = judge(&case, None, &success(), &[]);
        assert!(matches!(waiting, Verdict::Waiting { differences, .. } if differences.len() == 2));
    }

    #[test]
    fn habits_of_buildah_count_nowhere() {
        let lines = [
            "/etc/hosts file 0644 0:0 \"\"",
            "/run directory 0755 0:0",
            "/run/file file 0644 0:0 \"\"",
            "ArgsEscaped: true",
            "Env: [\"PATH=/bin\",\"A=b\"]",
            "Labels: {\"io.buildah.version\":\"1\"}",
            "Labels: {\"a\":\"b\",\"io.buildah.version\":\"1\"}",
        ];
        assert_eq!(
            without_habits(lines.map(str::to_owned).to_vec()),
            [
                "/run/file file 0644 0:0 \"\"",
                "Env: [\"A=b\",\"PATH=/bin\"]",
                "Labels: {\"a\":\"b\"}",
            ]
        );
    }
}
