//! "Did you mean": the closest known word.

/// Edits from which two words count as unrelated.
const TOO_FAR: usize = 3;

/// Returns the candidate fewest edits away from `word`, if it is fewer than three.
///
/// Case does not matter. The first of several equally close candidates wins, and a candidate equal
/// to `word` means there is nothing to suggest.
#[must_use]
pub fn suggest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase();
    let length = word.chars().count();
    let mut best = None;
    let mut best_distance = TOO_FAR;
    for candidate in candidates {
        let known = candidate.to_lowercase();
        if known == word {
            return None;
        }
        // Words of very different length are far apart; no need to measure a long one.
        if known.chars().count().abs_diff(length) >= TOO_FAR {
            continue;
        }
        let distance = strsim::osa_distance(&word, &known);
        if distance < best_distance {
            best = Some(candidate);
            best_distance = distance;
        }
    }
    best
}

/// Returns `" (did you mean x?)"`, or nothing when no candidate is close.
#[must_use]
pub fn hint(suggestion: Option<&str>) -> String {
    suggestion
        .map(|word| format!(" (did you mean {word}?)"))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closest_word_is_suggested() {
        #[track_caller]
        fn check(word: &str, candidates: &[&str], expected: Option<&str>) {
            assert_eq!(suggest(word, candidates.iter().copied()), expected);
        }
        check("coppy", &["ADD", "COPY", "RUN"], Some("COPY"));
        check("form", &["chown", "from"], Some("from"));
        // Two letters that changed places are one edit.
        check("chwon", &["chmod", "chown"], Some("chown"));
        check("foo", &["type", "from", "ro"], Some("from"));
        check("bilder", &["builder"], Some("builder"));
        check("from", &["from", "form"], None);
        check("zzzzz", &["from"], None);
        check("", &["rw"], Some("rw"));
        check("", &[], None);
    }
}
