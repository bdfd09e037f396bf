//! "Did you mean": the closest known word.

/// Edits from which two words count as unrelated.
const TOO_FAR: usize = 3;

/// Returns the candidate fewest edits away from `word`, if it is fewer than three.
///
/// Case does not matter. The first of several equally close candidates wins, and a candidate equal
/// to `word` means there is nothing to suggest.
#[must_use]
pub fn suggest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word: Vec<char> = word.to_lowercase().chars().collect();
    let mut best = None;
    let mut best_distance = TOO_FAR;
    for candidate in candidates {
        let letters: Vec<char> = candidate.to_lowercase().chars().collect();
        if letters == word {
            return None;
        }
        // Words of very different length are far apart; no need to measure a long one.
        if letters.len().abs_diff(word.len()) >= TOO_FAR {
            continue;
        }
        let distance = edit_distance(&word, &letters);
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

/// Levenshtein's distance, one row at a time.
fn edit_distance(left: &[char], right: &[char]) -> usize {
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in right.iter().enumerate() {
            let substituted = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closest_word() {
        #[track_caller]
        fn check(word: &str, candidates: &[&str], expected: Option<&str>) {
            assert_eq!(suggest(word, candidates.iter().copied()), expected);
        }
        check("coppy", &["ADD", "COPY", "RUN"], Some("COPY"));
        check("form", &["chown", "from"], Some("from"));
        check("foo", &["type", "from", "ro"], Some("from"));
        check("bilder", &["builder"], Some("builder"));
        check("from", &["from", "form"], None);
        check("zzzzz", &["from"], None);
        check("", &["rw"], Some("rw"));
        check("", &[], None);
    }
}
