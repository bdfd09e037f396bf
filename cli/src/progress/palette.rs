//! The colours of what kiln writes to a terminal.

use console::{Color, Style};

use crate::environment::Environment;
use crate::terminal;

/// The colours of the states a step can be in.
#[derive(Clone, Debug)]
pub(crate) struct Palette {
    /// What is done.
    pub(crate) done: Style,
    /// What was cancelled.
    pub(crate) cancelled: Style,
    /// What failed.
    pub(crate) failed: Style,
    /// What deserves attention.
    pub(crate) warning: Style,
    /// Whether there are colours at all.
    pub(crate) is_coloured: bool,
}

impl Palette {
    /// No colours.
    pub(crate) fn none() -> Self {
        let plain = || Style::new().force_styling(false);
        Self {
            done: plain(),
            cancelled: plain(),
            failed: plain(),
            warning: plain(),
            is_coloured: false,
        }
    }

    fn usual() -> Self {
        let colour = |colour| Style::new().force_styling(true).fg(colour);
        Self {
            done: colour(Color::Blue),
            cancelled: colour(Color::Yellow),
            failed: colour(Color::Red),
            warning: colour(Color::Yellow),
            is_coloured: true,
        }
    }

    /// Returns the colours for standard output.
    pub(crate) fn of_stdout(environment: &Environment) -> Self {
        Self::of(environment, terminal::stdout_is_terminal())
    }

    /// Returns the colours for standard error.
    pub(crate) fn of_stderr(environment: &Environment) -> Self {
        Self::of(environment, terminal::stderr_is_terminal())
    }

    /// Returns the colours that the environment asks for; none where there is no terminal.
    fn of(environment: &Environment, is_terminal: bool) -> Self {
        let is_dumb = environment.text("TERM").is_none_or(|term| term == "dumb");
        if !is_terminal || is_dumb || environment.text("NO_COLOR").is_some() {
            return Self::none();
        }
        let mut palette = Self::usual();
        let wishes = environment.text("BUILDKIT_COLORS").unwrap_or_default();
        for wish in wishes.split(':') {
            let Some((what, colour)) = wish.split_once('=') else {
                continue;
            };
            // BuildKit passes over what it does not know, too.
            let Some(colour) = parse(colour) else {
                continue;
            };
            let style = Style::new().force_styling(true).fg(colour);
            match what {
                "run" => palette.done = style,
                "cancel" => palette.cancelled = style,
                "error" => palette.failed = style,
                "warning" => palette.warning = style,
                _ => {}
            }
        }
        palette
    }
}

/// Parses a name, or red, green and blue as `R,G,B`.
fn parse(text: &str) -> Option<Color> {
    Some(match text.to_ascii_lowercase().as_str() {
        "black" => Color::Black,
        "red" | "light-red" => Color::Red,
        "green" | "light-green" => Color::Green,
        "yellow" | "light-yellow" => Color::Yellow,
        "blue" | "light-blue" => Color::Blue,
        "magenta" | "light-magenta" => Color::Magenta,
        "cyan" | "light-cyan" => Color::Cyan,
        "white" | "light-white" => Color::White,
        numbers => {
            let numbers: Vec<u8> = numbers
                .split(',')
                .map(str::parse)
                .collect::<Result<_, _>>()
                .ok()?;
            let [red, green, blue] = *numbers.as_slice() else {
                return None;
            };
            Color::TrueColor(red, green, blue)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn painted(variables: &[(&str, &str)]) -> String {
        let palette = Palette::of(&Environment::with(variables), true);
        format!(
            "{}{}",
            palette.done.apply_to("d"),
            palette.failed.apply_to("f")
        )
    }

    #[test]
    fn colours_are_those_asked_for() {
        let term = ("TERM", "xterm");
        assert_eq!(painted(&[term]), "\x1b[34md\x1b[0m\x1b[31mf\x1b[0m");
        assert_eq!(
            painted(&[
                term,
                ("BUILDKIT_COLORS", "run=green:error=1,2,3:x=y:run=no")
            ]),
            "\x1b[32md\x1b[0m\x1b[38;2;1;2;3mf\x1b[0m"
        );
        assert_eq!(painted(&[term, ("NO_COLOR", "1")]), "df");
        assert_eq!(painted(&[term, ("NO_COLOR", "")]).len(), 20);
        assert_eq!(painted(&[("TERM", "dumb")]), "df");
    }
}
