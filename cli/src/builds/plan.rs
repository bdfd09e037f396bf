//! `kiln build --plan`: what a build would do, on standard output.

use std::time::Duration;

use kiln_engine::{BuildForecast, Prospect, StepForecast};

use crate::environment::Environment;
use crate::failure::Failure;
use crate::progress::seconds;
use crate::terminal;
use crate::why::{Layout, Mark, StepLine, first_sentence, place};

/// Prints what a build would do.
pub(super) fn print(forecast: &BuildForecast, environment: &Environment) -> Result<(), Failure> {
    let layout = Layout::of_stdout(environment);
    let mut text = String::new();
    for step in &forecast.steps {
        text.push_str(&layout.step(&line(step), &first_sentence(&step.because)));
    }
    text.push_str(&layout.paragraph(&format!("\n{}", summary(&forecast.steps))));
    terminal::print_styled(&text)
}

fn line(step: &StepForecast) -> StepLine<'_> {
    let last = |took: Option<Duration>| {
        let took = took.map(|took| format!(", {} last time", seconds(took)));
        took.unwrap_or_default()
    };
    let (mark, outcome) = match &step.prospect {
        Prospect::Hit => (Mark::Hit, "hit".to_owned()),
        Prospect::NotNeeded => (Mark::Nothing, "not needed".to_owned()),
        Prospect::Runs => (Mark::Ran, format!("would run{}", last(step.took_last))),
        Prospect::Unknown { until } => {
            let until = place(until);
            let last = last(step.took_last);
            (Mark::Unknown, format!("unknown until {until} ran{last}"))
        }
    };
    StepLine {
        mark,
        name: &step.name,
        outcome,
    }
}

/// Says how much there would be to do.
fn summary(steps: &[StepForecast]) -> String {
    let count = |is: fn(&Prospect) -> bool| {
        let counted = steps.iter().filter(|step| is(&step.prospect));
        let (mut number, mut took, mut unknown) = (0, Duration::ZERO, 0);
        for step in counted {
            number += 1;
            match step.took_last {
                Some(last) => took += last,
                None => unknown += 1,
            }
        }
        (number, time(number, took, unknown))
    };
    let (runs, runs_time) = count(|prospect| *prospect == Prospect::Runs);
    let (may, may_time) = count(|prospect| matches!(prospect, Prospect::Unknown { .. }));
    if runs + may == 0 {
        return "Nothing would run: every result is there.".to_owned();
    }
    let would = match runs {
        1 => format!("1 step would run{runs_time}"),
        runs => format!("{runs} steps would run{runs_time}"),
    };
    match may {
        0 => format!("{would}."),
        may => format!("{would}, {may} more may{may_time}."),
    }
}

/// Says how long so many steps took the last time, as far as it is known.
fn time(number: usize, took: Duration, unknown: usize) -> String {
    match (number, unknown) {
        (0, _) => String::new(),
        (number, unknown) if number == unknown => String::new(),
        (_, 0) => format!(" ({} last time)", seconds(took)),
        (_, unknown) => format!(" ({} last time, {unknown} of them new)", seconds(took)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn estimates_say_what_they_do_not_know() {
        let step = |prospect, milliseconds: Option<u64>| StepForecast {
            name: "[1/1] RUN a".to_owned(),
            stage: "0".to_owned(),
            line: 1,
            prospect,
            because: Vec::new(),
            took_last: milliseconds.map(Duration::from_millis),
        };
        let unknown = || Prospect::Unknown {
            until: "[1/1] RUN a".to_owned(),
        };
        let hit = step(Prospect::Hit, None);
        assert_eq!(
            summary(std::slice::from_ref(&hit)),
            "Nothing would run: every result is there."
        );
        assert_eq!(
            summary(&[hit.clone(), step(Prospect::Runs, Some(1500))]),
            "1 step would run (1.5s last time)."
        );
        assert_eq!(
            summary(&[
                step(Prospect::Runs, Some(1500)),
                step(Prospect::Runs, None),
                step(unknown(), Some(200)),
            ]),
            "2 steps would run (1.5s last time, 1 of them new), 1 more may (0.2s last time)."
        );
        assert_eq!(summary(&[step(Prospect::Runs, None)]), "1 step would run.");
        let until = step(unknown(), Some(200));
        assert_eq!(
            line(&until).outcome,
            "unknown until [1/1] ran, 0.2s last time"
        );
    }
}
