//! File modes, as `--chmod` takes them: octal, or lists such as `u+x,g-w`.

use nom::branch::alt;
use nom::character::complete::{char, one_of};
use nom::combinator::{all_consuming, map, value};
use nom::multi::{fold_many0, many1, separated_list1};
use nom::{IResult, Parser};
use thiserror::Error;

/// Set-user-id, set-group-id, sticky and the nine permission bits.
const ALL: u32 = 0o7777;

/// A parsed `--chmod` value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Chmod {
    /// The mode itself, for files and directories alike.
    Octal(u32),
    /// Changes to the mode an entry has.
    Symbolic(Vec<ModeChange>),
}

/// One step of a symbolic mode: some classes, one operator, some permissions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ModeChange {
    classes: u32,
    operator: ModeOperator,
    permissions: Permissions,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ModeOperator {
    Add,
    Remove,
    Set,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Permissions {
    /// Bits in all places at once, and whether `X` is among them.
    Bits { bits: u32, search: bool },
    /// Those another class has: how far its bits are from the right end.
    CopyOf { shift: u32 },
}

/// A text that is no mode.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ChmodError {
    /// A number, but no octal one, or too large.
    #[error("invalid chmod parameter: '{0}'. it should be octal string and between 0 and 07777")]
    Octal(String),
    /// Not a symbolic mode.
    #[error("invalid syntax")]
    Syntax,
}

/// Parses a mode.
///
/// # Errors
/// If it is neither an octal number up to 7777 nor a symbolic mode.
pub fn parse(text: &str) -> Result<Chmod, ChmodError> {
    // What begins as a number is meant as one.
    if text.starts_with(|first: char| first.is_ascii_digit()) {
        return match u32::from_str_radix(text, 8) {
            Ok(mode) if mode <= ALL => Ok(Chmod::Octal(mode)),
            _ => Err(ChmodError::Octal(text.to_owned())),
        };
    }
    let parsed: IResult<&str, Vec<Vec<ModeChange>>> =
        all_consuming(separated_list1(char(','), clause)).parse(text);
    match parsed {
        Ok((_, clauses)) => Ok(Chmod::Symbolic(clauses.concat())),
        Err(_) => Err(ChmodError::Syntax),
    }
}

impl Chmod {
    /// Returns the mode of an entry that had `mode` (its lowest twelve bits count).
    #[must_use]
    pub fn apply(&self, mode: u32, is_directory: bool) -> u32 {
        match self {
            Self::Octal(mode) => *mode,
            Self::Symbolic(changes) => changes
                .iter()
                .fold(mode & ALL, |mode, change| change.apply(mode, is_directory)),
        }
    }
}

impl ModeChange {
    fn apply(self, mode: u32, is_directory: bool) -> u32 {
        let bits = match self.permissions {
            Permissions::Bits { bits, search } => {
                let search = search && (is_directory || mode & 0o111 != 0);
                bits | if search { 0o111 } else { 0 }
            }
            Permissions::CopyOf { shift } => ((mode >> shift) & 0o7) * 0o111,
        };
        let bits = bits & self.classes;
        match self.operator {
            ModeOperator::Add => mode | bits,
            ModeOperator::Remove => mode & !bits,
            ModeOperator::Set => (mode & !self.classes) | bits,
        }
    }
}

/// `ug+r-w=x`: classes and the steps that share them.
fn clause(text: &str) -> IResult<&str, Vec<ModeChange>> {
    let (text, classes) = fold_many0(
        alt((
            value(0o4700, char('u')),
            value(0o2070, char('g')),
            value(0o1007, char('o')),
            value(ALL, char('a')),
        )),
        || 0,
        |classes, class: u32| classes | class,
    )
    .parse(text)?;
    // Without a class all are meant: the umask has no say here.
    let classes = if classes == 0 { ALL } else { classes };
    many1(map(
        (operator, permissions),
        move |(operator, permissions)| ModeChange {
            classes,
            operator,
            permissions,
        },
    ))
    .parse(text)
}

fn operator(text: &str) -> IResult<&str, ModeOperator> {
    alt((
        value(ModeOperator::Add, char('+')),
        value(ModeOperator::Remove, char('-')),
        value(ModeOperator::Set, char('=')),
    ))
    .parse(text)
}

fn permissions(text: &str) -> IResult<&str, Permissions> {
    let copied: IResult<&str, Permissions> = alt((
        value(Permissions::CopyOf { shift: 6 }, char('u')),
        value(Permissions::CopyOf { shift: 3 }, char('g')),
        value(Permissions::CopyOf { shift: 0 }, char('o')),
    ))
    .parse(text);
    if copied.is_ok() {
        return copied;
    }
    fold_many0(
        one_of("rwxXst"),
        || Permissions::Bits {
            bits: 0,
            search: false,
        },
        |permissions, letter| {
            let Permissions::Bits { bits, search } = permissions else {
                return permissions;
            };
            match letter {
                'r' => Permissions::Bits {
                    bits: bits | 0o444,
                    search,
                },
                'w' => Permissions::Bits {
                    bits: bits | 0o222,
                    search,
                },
                'x' => Permissions::Bits {
                    bits: bits | 0o111,
                    search,
                },
                's' => Permissions::Bits {
                    bits: bits | 0o6000,
                    search,
                },
                't' => Permissions::Bits {
                    bits: bits | 0o1000,
                    search,
                },
                _ => Permissions::Bits { bits, search: true },
            }
        },
    )
    .parse(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn df_132_octal() {
        assert_eq!(parse("4755"), Ok(Chmod::Octal(0o4755)));
        assert_eq!(parse("0"), Ok(Chmod::Octal(0)));
        assert_eq!(parse("00007777"), Ok(Chmod::Octal(0o7777)));
        assert_eq!(parse("600").unwrap().apply(0o777, true), 0o600);
    }

    #[test]
    fn df_133_neither() {
        for text in ["999", "10000", "99999999999999999999"] {
            assert_eq!(
                parse(text).unwrap_err().to_string(),
                format!(
                    "invalid chmod parameter: '{text}'. \
                     it should be octal string and between 0 and 07777"
                )
            );
        }
        for text in ["", "u", "u+q", "+x,", "u+x g-x", "ux", "u=gx", "-1x"] {
            assert_eq!(parse(text), Err(ChmodError::Syntax), "{text}");
        }
    }

    #[test]
    fn df_131_symbolic() {
        #[track_caller]
        fn check(text: &str, mode: u32, is_directory: bool, expected: u32) {
            let found = parse(text).unwrap().apply(mode, is_directory);
            assert_eq!(format!("{found:o}"), format!("{expected:o}"), "{text}");
        }
        check("u+x,g-r", 0o644, false, 0o704);
        check("+x", 0o644, false, 0o755);
        check("a=rx", 0o4777, false, 0o555);
        check("u=rwx,go=rx", 0o600, false, 0o755);
        check("g=u", 0o640, false, 0o660);
        check("go=", 0o777, false, 0o700);
        check("a+X", 0o644, false, 0o644);
        check("a+X", 0o644, true, 0o755);
        check("a+X", 0o744, false, 0o755);
        check("u+s", 0o755, false, 0o4755);
        check("g+s,+t", 0o755, true, 0o3755);
        check("u+x-w", 0o644, false, 0o544);
        check("o-rwx", 0o777, false, 0o770);
        check("u=r", 0o4755, false, 0o455);
        check("g=o", 0o604, false, 0o644);
    }
}
