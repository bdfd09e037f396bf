//! Which step of the last build a step corresponds to.
//!
//! Within a stage, steps of the same text in the same order correspond; between two of those, steps
//! of the same instruction do, in order. So an inserted line has no past, and a changed one has.
//! What then is left over corresponds to a step of the same text anywhere: its stage was renamed,
//! or it moved.

use std::collections::HashMap;

/// A step's name taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Name<'a> {
    stage: &'a str,
    /// What stands in front of the step's number besides the stage: the platform, if there are
    /// several.
    platform: &'a str,
    /// The instruction, on one line.
    text: &'a str,
}

impl<'a> Name<'a> {
    /// Takes apart how progress calls a step, e.g. `[linux/arm64 build 2/5] RUN make`.
    pub(super) fn of(name: &'a str, stage: &'a str) -> Self {
        let (place, text) = name.split_once("] ").unwrap_or(("", name));
        let first = place.trim_start_matches('[').split(' ').next();
        let platform = first.filter(|word| word.contains('/') && place.contains(' '));
        Self {
            stage,
            platform: platform.unwrap_or(""),
            text,
        }
    }

    fn instruction(&self) -> &'a str {
        self.text.split(' ').next().unwrap_or("")
    }
}

/// Returns for each step of `here` the position of the one in `there` that it corresponds to.
pub(super) fn pairs(here: &[Name<'_>], there: &[Name<'_>]) -> Vec<Option<usize>> {
    let mut pairs = vec![None; here.len()];
    let mut taken = vec![false; there.len()];
    let stages = by_stage(there);
    for (place, mine) in by_stage(here) {
        let Some(theirs) = stages.get(&place) else {
            continue;
        };
        let same = |a: usize, b: usize| here[mine[a]].text == there[theirs[b]].text;
        let mut start = (0, 0);
        let anchors = common(mine.len(), theirs.len(), same);
        let end = (mine.len(), theirs.len());
        for anchor in anchors.into_iter().chain([end]) {
            // What changed between two that did not.
            let mut next = start.1;
            for position in start.0..anchor.0 {
                let wanted = here[mine[position]].instruction();
                let found =
                    (next..anchor.1).find(|&other| there[theirs[other]].instruction() == wanted);
                if let Some(other) = found {
                    pairs[mine[position]] = Some(theirs[other]);
                    taken[theirs[other]] = true;
                    next = other + 1;
                }
            }
            if anchor != end {
                pairs[mine[anchor.0]] = Some(theirs[anchor.1]);
                taken[theirs[anchor.1]] = true;
            }
            start = (anchor.0 + 1, anchor.1 + 1);
        }
    }
    for (position, name) in here.iter().enumerate() {
        if pairs[position].is_none() {
            let free = |other: &usize| !taken[*other] && there[*other].text == name.text;
            let found = (0..there.len()).find(free);
            if let Some(other) = found {
                pairs[position] = Some(other);
                taken[other] = true;
            }
        }
    }
    pairs
}

fn by_stage<'a>(names: &[Name<'a>]) -> HashMap<(&'a str, &'a str), Vec<usize>> {
    let mut stages: HashMap<_, Vec<usize>> = HashMap::new();
    for (position, name) in names.iter().enumerate() {
        let stage = stages.entry((name.platform, name.stage)).or_default();
        stage.push(position);
    }
    stages
}

/// Returns the positions of a longest common subsequence of two sequences.
fn common(mine: usize, theirs: usize, same: impl Fn(usize, usize) -> bool) -> Vec<(usize, usize)> {
    let shorter = mine.min(theirs);
    let start = (0..shorter).take_while(|&at| same(at, at)).count();
    let end = (0..shorter - start)
        .take_while(|&back| same(mine - 1 - back, theirs - 1 - back))
        .count();
    let (rows, columns) = (mine - start - end, theirs - start - end);
    // lengths[row][column]: of the longest common subsequence of what follows.
    let mut lengths = vec![vec![0_u32; columns + 1]; rows + 1];
    for row in (0..rows).rev() {
        for column in (0..columns).rev() {
            lengths[row][column] = if same(start + row, start + column) {
                lengths[row + 1][column + 1] + 1
            } else {
                lengths[row + 1][column].max(lengths[row][column + 1])
            };
        }
    }
    let mut found: Vec<(usize, usize)> = (0..start).map(|at| (at, at)).collect();
    let (mut row, mut column) = (0, 0);
    while row < rows && column < columns {
        if same(start + row, start + column) {
            found.push((start + row, start + column));
            (row, column) = (row + 1, column + 1);
        } else if lengths[row + 1][column] >= lengths[row][column + 1] {
            row += 1;
        } else {
            column += 1;
        }
    }
    found.extend(
        (0..end)
            .rev()
            .map(|back| (mine - 1 - back, theirs - 1 - back)),
    );
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes a Dockerfile's steps as `stage: instruction` and says which was which.
    #[track_caller]
    fn check(before: &[&str], now: &[&str], expected: &[Option<usize>]) {
        let named = |lines: &[&str]| -> Vec<(String, String)> {
            let line = |(number, line): (usize, &&str)| {
                let (stage, text) = line.split_once(": ").unwrap();
                (format!("[{stage} {number}/9] {text}"), stage.to_owned())
            };
            lines.iter().enumerate().map(line).collect()
        };
        let (before, now) = (named(before), named(now));
        let names = |lines: &[(String, String)]| {
            lines
                .iter()
                .map(|(name, stage)| {
                    let name: &'static str = name.clone().leak();
                    Name::of(name, stage.clone().leak())
                })
                .collect::<Vec<_>>()
        };
        assert_eq!(pairs(&names(&now), &names(&before)), expected);
    }

    #[test]
    fn an_inserted_line_has_no_past_and_moves_no_other() {
        check(
            &["0: FROM a", "0: RUN one", "0: RUN two"],
            &["0: FROM a", "0: RUN one", "0: RUN new", "0: RUN two"],
            &[Some(0), Some(1), None, Some(2)],
        );
    }

    #[test]
    fn a_changed_line_is_still_the_same_step() {
        check(
            &["0: COPY a /", "0: RUN one", "0: RUN two", "0: RUN three"],
            &["0: COPY b /", "0: RUN one", "0: RUN 2", "0: RUN three"],
            &[Some(0), Some(1), Some(2), Some(3)],
        );
    }

    #[test]
    fn a_deleted_line_takes_no_other_along() {
        check(
            &["0: RUN one", "0: RUN two", "0: RUN three"],
            &["0: RUN one", "0: RUN three"],
            &[Some(0), Some(2)],
        );
    }

    #[test]
    fn another_instruction_is_another_step() {
        check(
            &["0: COPY a /", "0: RUN make"],
            &["0: ADD a /", "0: RUN make all"],
            &[None, Some(1)],
        );
    }

    #[test]
    fn stages_may_move_and_be_renamed() {
        check(
            &["a: RUN one", "b: RUN two", "b: RUN same"],
            &["c: RUN two", "c: RUN same", "a: RUN 1"],
            &[Some(1), Some(2), Some(0)],
        );
    }

    #[test]
    fn platforms_are_kept_apart() {
        let name = |text| Name::of(text, "build");
        let amd = name("[linux/amd64 build 2/5] RUN make");
        let arm = name("[linux/arm64 build 2/5] RUN make");
        assert_eq!(pairs(&[arm], &[amd, arm]), [Some(1)]);
        assert_eq!(name("[build 2/5] RUN a").platform, "");
        assert_eq!(name("[2/5] RUN a").platform, "");
        assert_eq!(
            name("[internal] copy build context").text,
            "copy build context"
        );
    }
}
