//! Flags and commands of docker and buildah that kiln knows of but does not serve yet.
//!
//! They are refused by name, with what does their work: a build that silently went without its cache
//! would be worse.

mod absent; // what is not there, and what is instead

mod commands; // kiln exec
mod flags; // kiln run -p

use absent::Absent;
use commands::COMMANDS;
use flags::FLAGS;

/// Returns what to do instead of a command of docker at `path`, such as `kiln container`, if it is
/// none of kiln's.
pub(crate) fn instead_of_command(path: &str, name: &str) -> Option<&'static str> {
    find(COMMANDS, path, name)
}

/// Returns what to do instead of giving a flag to the command at `path`, such as `kiln image build`,
/// if others have it.
pub(crate) fn instead_of_flag(path: &str, flag: &str) -> Option<&'static str> {
    let command = path.rsplit(' ').next().unwrap_or(path);
    let flag = flag.split('=').next().unwrap_or(flag);
    find(FLAGS, command, flag)
}

fn find(table: &[(&str, &'static [Absent])], of: &str, name: &str) -> Option<&'static str> {
    let groups = table.iter().filter(|(group, _)| *group == of);
    let mut absent = groups.flat_map(|(_, absent)| *absent);
    let found = absent.find(|absent| absent.names.contains(&name));
    found.map(|absent| absent.instead)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn supported_commands_are_not_listed() {
        let root = crate::arguments::command();
        for (name, absent) in FLAGS {
            let flags: Vec<&str> = absent.iter().flat_map(|a| a.names).copied().collect();
            let groups = ["image", "container"].map(|group| root.find_subcommand(group));
            let commands = [Some(&root)].into_iter().chain(groups).flatten();
            for command in commands.filter_map(|group| group.find_subcommand(name)) {
                for argument in command.get_arguments() {
                    let long = argument.get_long().map(|long| format!("--{long}"));
                    let short = argument.get_short().map(|short| format!("-{short}"));
                    for flag in long.iter().chain(&short) {
                        assert!(!flags.contains(&flag.as_str()), "{name} {flag}");
                    }
                }
            }
        }
    }

    #[test]
    fn commands_that_are_served_are_not_listed() {
        let root = crate::arguments::command();
        for (group, absent) in COMMANDS {
            let group = match group.strip_prefix("kiln ") {
                Some(group) => root.find_subcommand(group).unwrap(),
                None => &root,
            };
            for name in absent.iter().flat_map(|absent| absent.names) {
                assert!(group.find_subcommand(name).is_none(), "{name}");
            }
        }
    }

    #[test]
    fn flags_are_found_with_their_values() {
        assert!(instead_of_flag("kiln image build", "--logfile=file").is_some());
        assert_eq!(instead_of_flag("kiln build", "--lgfile"), None);
        assert_eq!(instead_of_flag("kiln run", "--logfile"), None);
    }
}
