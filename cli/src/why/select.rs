//! Which steps a person means.

use kiln_solver::BuiltStep;

/// Returns the steps that `text` stands for.
///
/// # Errors
/// The names of all steps, if it stands for none.
pub(super) fn select(steps: Vec<BuiltStep>, text: &str) -> Result<Vec<BuiltStep>, Vec<String>> {
    let lower = text.to_lowercase();
    let number: Option<u32> = text.parse().ok();
    let line: Option<u32> = text.strip_prefix(':').and_then(|line| line.parse().ok());
    // The first meaning that fits some step counts.
    let meanings: [&dyn Fn(&BuiltStep) -> bool; 4] = [
        &|step| number.is_some() && number_of(&step.name) == number,
        &|step| line == Some(step.line),
        &|step| step.stage == lower,
        &|step| step.name.to_lowercase().contains(&lower),
    ];
    // A number is a number, not a piece of a command or a digest.
    let meanings = match number {
        Some(_) => &meanings[..1],
        None => &meanings[..],
    };
    for is_meant in meanings {
        if steps.iter().any(is_meant) {
            return Ok(steps.into_iter().filter(is_meant).collect());
        }
    }
    Err(steps.into_iter().map(|step| step.name).collect())
}

/// Returns a step's number, which its name holds: `[build 2/5] RUN make`.
fn number_of(name: &str) -> Option<u32> {
    let (place, _) = name.strip_prefix('[')?.split_once("] ")?;
    let counted = place.rsplit(' ').find(|word| !word.is_empty())?;
    counted.split_once('/')?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use kiln_solver::Fate;

    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &[usize]) {
        let step = |name: &str, stage: &str, line| BuiltStep {
            name: name.to_owned(),
            stage: stage.to_owned(),
            line,
            key: None,
            fate: Fate::Hit,
            because: Vec::new(),
        };
        let steps = vec![
            step("[build  1/10] FROM base", "build", 1),
            step("[build  2/10] RUN make 3", "build", 12),
            step("[build 10/10] RUN make install", "build", 13),
            step(
                "[linux/arm64 stage-1 2/2] COPY --from=build /a /a",
                "stage-1",
                20,
            ),
        ];
        let found = select(steps.clone(), text).unwrap_or_default();
        let positions = found
            .iter()
            .map(|found| steps.iter().position(|step| step == found));
        assert_eq!(
            positions.collect::<Option<Vec<_>>>().unwrap(),
            expected,
            "{text}"
        );
    }

    #[test]
    fn steps_have_numbers_lines_stages_and_texts() {
        check("2", &[1, 3]);
        check("10", &[2]);
        check(":13", &[2]);
        check("Build", &[0, 1, 2]);
        check("run MAKE", &[1, 2]);
        check("3", &[]);
        check("install", &[2]);
        check("nothing", &[]);
        check(":99", &[]);
    }
}
