//! Steps as lines: a mark, the step, what became of it; below, why.

use console::{Style, measure_text_width, truncate_str};

use crate::clean;
use crate::environment::Environment;
use crate::progress::Palette;
use crate::terminal;

/// Characters in a line, on terminals that are wider.
const WIDEST: usize = 100;
/// What reasons are moved in by.
const INDENT: &str = "    ";

/// How much is said of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ShownReasons {
    /// The most telling reason, on one line.
    First,
    /// Everything that is known.
    All,
}

/// A step and what became, or would become, of it.
#[derive(Clone, Debug)]
pub(crate) struct StepLine<'a> {
    /// What stands in front.
    pub(crate) mark: Mark,
    /// How progress calls the step.
    pub(crate) name: &'a str,
    /// What became of it.
    pub(crate) outcome: String,
}

/// What stands in front of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    /// Its result was there.
    Hit,
    /// It ran, or would.
    Ran,
    /// It failed.
    Failed,
    /// It may run.
    Unknown,
    /// It was not reached.
    Nothing,
}

/// How lines look.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    /// Characters in a line; none where programs read.
    width: Option<usize>,
    palette: Palette,
}

impl Layout {
    /// Returns what suits standard output.
    pub(crate) fn of_stdout(environment: &Environment) -> Self {
        let width = if terminal::stdout_is_terminal() {
            Some(terminal::TerminalSize::of_stdout().width.min(WIDEST))
        } else {
            None
        };
        Self {
            width,
            palette: Palette::of_stdout(environment),
        }
    }

    /// Returns a step and why it ran, each on a line of its own.
    pub(crate) fn step(&self, line: &StepLine<'_>, because: &[String]) -> String {
        let name = short_digests(&clean::line(line.name));
        let (mark, style) = self.mark(line.mark);
        let outcome = style.apply_to(&line.outcome);
        let mark = style.apply_to(mark);
        let mut text = match self.width {
            None => format!("{mark} {name}  {outcome}\n"),
            Some(width) => {
                // A mark, a blank, and two blanks before the outcome.
                let room = width.saturating_sub(measure_text_width(&line.outcome) + 4);
                let name = truncate_str(&name, room, "…");
                let padding = " ".repeat(room - measure_text_width(&name));
                format!("{mark} {name}{padding}  {outcome}\n")
            }
        };
        for reason in because {
            let reason = format!("{INDENT}{}", short_digests(&clean::line(reason)));
            text.push_str(&self.paragraph(&reason));
        }
        text
    }

    /// Returns text in as many lines as it needs.
    pub(crate) fn paragraph(&self, text: &str) -> String {
        let Some(width) = self.width else {
            return format!("{text}\n");
        };
        let indent = &text[..text.len() - text.trim_start_matches(' ').len()];
        let mut lines = vec![indent.to_owned()];
        for word in text[indent.len()..].split(' ') {
            let last = lines.last_mut().expect("there is always a line");
            let is_first = last.len() == indent.len();
            if is_first || measure_text_width(last) + 1 + measure_text_width(word) <= width {
                if !is_first {
                    last.push(' ');
                }
                last.push_str(word);
            } else {
                lines.push(format!("{indent}  {word}"));
            }
        }
        format!("{}\n", lines.join("\n"))
    }

    fn mark(&self, mark: Mark) -> (&'static str, &Style) {
        match mark {
            Mark::Hit => ("=", &self.palette.done),
            Mark::Ran => ("*", &self.palette.warning),
            Mark::Failed => ("!", &self.palette.failed),
            Mark::Unknown => ("?", &self.palette.cancelled),
            Mark::Nothing => ("-", &self.palette.done),
        }
    }
}

/// Returns the part of a step's name that says which one it is: `[build 2/5]`.
pub(crate) fn place(name: &str) -> &str {
    match name.find("] ") {
        Some(end) => &name[..=end],
        None => name,
    }
}

/// Shortens digests to what people read of them.
fn short_digests(text: &str) -> String {
    const ALGORITHM: &str = "sha256:";
    const SHOWN: usize = 12;
    let mut pieces = text.split(ALGORITHM);
    let mut short = pieces.next().unwrap_or("").to_owned();
    for piece in pieces {
        let digits = piece.bytes().take_while(u8::is_ascii_hexdigit).count();
        short.push_str(ALGORITHM);
        match digits {
            64 => short.push_str(&format!("{}{}", &piece[..SHOWN], &piece[digits..])),
            _ => short.push_str(piece),
        }
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(width: Option<usize>) -> Layout {
        Layout {
            width,
            palette: Palette::none(),
        }
    }

    fn shown(width: Option<usize>) -> String {
        let layout = layout(width);
        let line = |mark, name, outcome: &str| StepLine {
            mark,
            name,
            outcome: outcome.to_owned(),
        };
        let digest = "0123456789abcdef".repeat(4);
        let from = format!("[1/3] FROM docker.io/library/node:20@sha256:{digest}");
        let because = "the step before it came out differently: [2/3] COPY . .".to_owned();
        layout.step(&line(Mark::Hit, &from, "hit"), &[])
            + &layout.step(
                &line(Mark::Ran, "[2/3] COPY . .", "ran 0.1s"),
                &["src/app.js changed".to_owned()],
            )
            + &layout.step(
                &line(Mark::Failed, "[3/3] RUN npm test", "failed"),
                &[because],
            )
    }

    #[test]
    fn lines_end_where_the_screen_does() {
        insta::assert_snapshot!(shown(Some(50)), @r"
        = [1/3] FROM docker.io/library/node:20@sha25…  hit
        * [2/3] COPY . .                          ran 0.1s
            src/app.js changed
        ! [3/3] RUN npm test                        failed
            the step before it came out differently: [2/3]
              COPY . .
        ");
    }

    #[test]
    fn programs_get_whole_lines() {
        insta::assert_snapshot!(shown(None), @r"
        = [1/3] FROM docker.io/library/node:20@sha256:0123456789ab  hit
        * [2/3] COPY . .  ran 0.1s
            src/app.js changed
        ! [3/3] RUN npm test  failed
            the step before it came out differently: [2/3] COPY . .
        ");
    }
}
