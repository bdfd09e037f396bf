//! Command lines that are not understood: what is wrong, how it is used, where help is.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Command, CommandFactory as _, FromArgMatches as _};

use crate::arguments::{self, Cli};
use crate::failure::Exit;
use crate::terminal;
use crate::unsupported;

/// Parses a command line, or says what is wrong with it and returns the exit status.
pub(crate) fn parse(arguments: &[OsString]) -> Result<Cli, Exit> {
    if let Some(command) = parse_alone(arguments) {
        return Ok(Cli {
            version: false,
            debug: false,
            command: Some(command),
        });
    }
    let parsed = arguments::command()
        .try_get_matches_from(arguments)
        .and_then(|matches| Cli::from_arg_matches(&matches));
    let error = match parsed {
        Ok(cli) => return Ok(cli),
        Err(error) => error,
    };
    // The description for parsing shows switches as if they had values; this one does not.
    let mut root = Cli::command();
    root.build();
    let (path, command) = find(&root, arguments);
    Err(match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let help = command.clone().bin_name(&path).render_help();
            match terminal::print(&help.to_string()) {
                Ok(()) => Exit::SUCCESS,
                Err(failure) => failure.exit,
            }
        }
        kind => {
            terminal::tell(&complaint(&error, &path, command));
            match kind {
                ErrorKind::InvalidSubcommand
                | ErrorKind::MissingSubcommand
                | ErrorKind::MissingRequiredArgument => Exit::FAILURE,
                ErrorKind::UnknownArgument if !is_flag(&invalid_argument(&error)) => Exit::FAILURE,
                _ => Exit::BEFORE_START,
            }
        }
    })
}

/// Parses the commands that are given all the time without describing all others first, which
/// takes longer than all else before the work begins. None if it is another command, or anything
/// is wrong.
fn parse_alone(arguments: &[OsString]) -> Option<arguments::Command> {
    fn parsed<T: clap::Args>(arguments: &[OsString]) -> Option<T> {
        let command = T::augment_args(Command::new("alone"));
        let matches = arguments::tolerant(command).try_get_matches_from(arguments);
        T::from_arg_matches(&matches.ok()?).ok()
    }
    let rest = arguments.get(1..)?;
    Some(match rest.first()?.to_str()? {
        "build" => arguments::Command::Build(Box::new(parsed(rest)?)),
        "run" => arguments::Command::Run(Box::new(parsed(rest)?)),
        _ => return None,
    })
}

/// Finds the command that is spoken of: as many words as are names of commands.
fn find<'a>(root: &'a Command, arguments: &[OsString]) -> (String, &'a Command) {
    let mut path = root.get_name().to_owned();
    let mut command = root;
    let words = arguments.iter().skip(1).filter_map(|word| word.to_str());
    for word in words {
        if word.starts_with('-') || (command.get_name() == root.get_name() && word == "help") {
            continue;
        }
        let Some(next) = command.find_subcommand(word) else {
            break;
        };
        path.push(' ');
        path.push_str(next.get_name());
        command = next;
    }
    (path, command)
}

fn complaint(error: &clap::Error, path: &str, command: &Command) -> String {
    let argument = invalid_argument(error);
    let name = context(error, ContextKind::InvalidSubcommand);
    let instead = match error.kind() {
        ErrorKind::UnknownArgument => unsupported::instead_of_flag(path, &argument),
        ErrorKind::InvalidSubcommand => unsupported::instead_of_command(path, &name),
        _ => None,
    };
    let message = match error.kind() {
        ErrorKind::UnknownArgument if instead.is_some() => {
            format!("{argument} is not supported yet")
        }
        ErrorKind::InvalidSubcommand if instead.is_some() => {
            format!("'{path} {name}' is not supported yet")
        }
        ErrorKind::UnknownArgument if argument.starts_with("--") => {
            format!("unknown flag: {argument}")
        }
        ErrorKind::UnknownArgument if is_flag(&argument) => {
            format!("unknown shorthand flag: {argument}")
        }
        ErrorKind::UnknownArgument | ErrorKind::MissingRequiredArgument => {
            format!("'{path}' {}", expected_count(command))
        }
        ErrorKind::InvalidSubcommand => format!("'{name}' is not a {path} command"),
        _ => first_line(error),
    };
    let mut text = format!("kiln: {message}\n");
    match instead {
        Some(instead) => text.push_str(&format!("hint: {instead}\n")),
        None if error.kind() == ErrorKind::InvalidValue => {
            if let Some(ContextValue::Strings(values)) = error.get(ContextKind::ValidValue)
                && !values.is_empty()
            {
                text.push_str(&format!("hint: the values are {}\n", values.join(", ")));
            }
        }
        None => {
            for kind in [ContextKind::SuggestedArg, ContextKind::SuggestedSubcommand] {
                let suggestion = context(error, kind);
                if !suggestion.is_empty() {
                    text.push_str(&format!("Did you mean '{suggestion}'?\n"));
                }
            }
        }
    }
    let usage = command.clone().bin_name(path).render_usage().to_string();
    let usage = usage.trim_start_matches("Usage:").trim();
    format!("{text}\nUsage:  {usage}\n\nRun '{path} --help' for more information\n")
}

/// Returns clap's own words, without `error:` and everything after the first line.
fn first_line(error: &clap::Error) -> String {
    let text = error.to_string();
    let line = text.lines().next().unwrap_or_default();
    let line = line.trim_start_matches("error: ");
    // For parsing, a switch is an option whose value may be left out; users do not know it as such.
    match (line.find("[=<"), line.find(">]")) {
        (Some(start), Some(end)) if start < end => {
            format!("{}{}", &line[..start], &line[end + 2..])
        }
        _ => line.to_owned(),
    }
}

fn invalid_argument(error: &clap::Error) -> String {
    context(error, ContextKind::InvalidArg)
}

fn context(error: &clap::Error, kind: ContextKind) -> String {
    match error.get(kind) {
        Some(ContextValue::String(text)) => text.clone(),
        // The most similar one comes last.
        Some(ContextValue::Strings(texts)) => texts.last().cloned().unwrap_or_default(),
        _ => String::new(),
    }
}

fn is_flag(argument: &str) -> bool {
    argument.starts_with('-') && argument.len() > 1
}

/// Says how many arguments a command takes, in docker's words.
fn expected_count(command: &Command) -> String {
    let positionals: Vec<_> = command.get_positionals().collect();
    let least = |argument: &&&clap::Arg| argument.is_required_set();
    let least = positionals.iter().filter(least).count();
    let has_rest = positionals
        .iter()
        .any(|argument| argument.get_num_args().is_some_and(|n| n.max_values() > 1));
    let plural = |count: usize| if count == 1 { "argument" } else { "arguments" };
    match (least, positionals.len(), has_rest) {
        (0, 0, _) => "accepts no arguments".to_owned(),
        (least, _, true) => format!("requires at least {least} {}", plural(least)),
        (least, most, false) if least == most => format!("requires {least} {}", plural(least)),
        (_, most, false) => format!("requires at most {most} {}", plural(most)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_parsed_alone_say_the_same() {
        let lines = [
            "kiln build .",
            "kiln build --pull=false -t a:b --build-arg A=1 --build-arg B -f x/Dockerfile ctx",
            "kiln build --target a --target b --push --quiet=0 .",
            "kiln run --rm -e A=1 image sh -c x --rm",
        ];
        for line in lines {
            let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            let matches = arguments::command().try_get_matches_from(&words);
            let whole = matches.and_then(|matches| Cli::from_arg_matches(&matches));
            let whole = whole.expect("the line is sound").command;
            assert_eq!(
                format!("{:?}", parse_alone(&words)),
                format!("{whole:?}"),
                "{line}"
            );
        }
        for line in [
            "kiln build --unknown .",
            "kiln build --help",
            "kiln ps",
            "kiln",
        ] {
            let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            assert!(parse_alone(&words).is_none(), "{line}");
        }
    }
}
