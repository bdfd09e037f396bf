//! Instructions that change only the config, and what later steps see of it.

use kiln_oci::{Empty, Healthcheck};
use kiln_parser::lint::rules;
use kiln_parser::{Arg, CommandLine, Pairs, Quoting, Site, Text, expose, signal};

use super::stage_plan::StagePlan;
use crate::plan::arguments::{DeclaredArgument, READ_BY_BUILDER};
use crate::plan::history;
use crate::plan::planner::Planner;

impl StagePlan<'_, '_> {
    /// Expands pairs, all with the environment before the instruction.
    fn pairs(&mut self, pairs: &Pairs) -> Vec<(String, String)> {
        pairs
            .pairs
            .iter()
            .map(|(key, value)| (self.expand(key), self.expand(value)))
            .collect()
    }

    pub(super) fn env(&mut self, pairs: &Pairs) {
        let pairs = self.pairs(pairs);
        for (name, value) in &pairs {
            set_in_config(&mut self.state.config.config.env, name, value);
            self.state.env.set(name, value);
        }
        self.state.changed(format!("ENV {}", join_pairs(&pairs)));
    }

    pub(super) fn label(&mut self, pairs: &Pairs) {
        let pairs = self.pairs(pairs);
        let labels = &mut self.state.config.config.labels;
        labels.extend(pairs.iter().cloned());
        self.state.changed(format!("LABEL {}", join_pairs(&pairs)));
    }

    pub(super) fn arg(&mut self, arg: &Arg) {
        let mut texts = Vec::new();
        for (written, default) in &arg.declarations {
            let name = written.raw.clone();
            let Planner {
                arguments, words, ..
            } = &mut *self.planner;
            let state = &self.state;
            let value = arguments.stage_value(&name, default.as_ref(), |text| {
                words.expand_in_stage(text, Quoting::Word, &state.env, &state.arguments)
            });
            self.planner.declared.push(DeclaredArgument {
                name: name.clone(),
                value: value.clone(),
                span: written.span,
            });
            if !self.state.arguments.contains(&name) {
                self.state.arguments.push(name.clone());
            }
            match value {
                Some(value) => {
                    if READ_BY_BUILDER.contains(&name.as_str()) {
                        self.state.for_builder.set(&name, &value);
                    } else {
                        self.state.env.set(&name, &value);
                    }
                    texts.push(format!("{name}={value}"));
                }
                None => texts.push(name),
            }
        }
        self.state.changed(format!("ARG {}", texts.join(" ")));
    }

    pub(super) fn cmd(&mut self, command: &CommandLine, site: &Site) {
        self.check_form(command, site);
        let command = self.state.command(command);
        let text = format!("CMD {}", history::quoted_list(&command));
        let config = &mut self.state.config.config;
        config.cmd = command;
        config.args_escaped = true;
        self.state.command_is_own = true;
        self.state.changed(text);
    }

    pub(super) fn entrypoint(&mut self, command: &CommandLine, site: &Site) {
        self.check_form(command, site);
        let command = self.state.command(command);
        let text = format!("ENTRYPOINT {}", history::quoted_list(&command));
        let config = &mut self.state.config.config;
        config.entrypoint = command;
        if !self.state.command_is_own {
            config.cmd.clear();
        }
        self.state.changed(text);
    }

    /// Rule JSONArgsRecommended. A stage with a `SHELL` is not checked: its author wants the shell
    /// form.
    fn check_form(&mut self, command: &CommandLine, site: &Site) {
        let is_shell_form = matches!(command, CommandLine::Shell(_));
        if is_shell_form && self.state.config.config.shell.is_empty() {
            let finding = rules::json_args_recommended(site.span, &site.keyword.raw);
            self.planner.words.warnings.push(finding);
        }
    }

    pub(super) fn expose(&mut self, words: &[Text]) {
        let mut words: Vec<&Text> = words.iter().collect();
        words.sort_by(|a, b| a.raw.cmp(&b.raw));
        let mut shown = Vec::new();
        for text in words {
            for word in self.expand(text).split_whitespace() {
                match expose::parse_ports(word) {
                    Ok(ports) => {
                        self.planner.words.check_ports(&ports, word, text.span);
                        for port in ports.ports {
                            let port = port.to_string();
                            let exposed = &mut self.state.config.config.exposed_ports;
                            exposed.insert(port.clone(), Empty {});
                            shown.push(port);
                        }
                    }
                    Err(error) => self.error("invalid-port", text.span, error.to_string()),
                }
            }
        }
        let text = format!("EXPOSE {}", history::plain_list(&shown));
        self.state.changed(text);
    }

    pub(super) fn user(&mut self, user: &Text) {
        let user = self.expand(user);
        self.state.config.config.user.clone_from(&user);
        self.state.changed(format!("USER {user}"));
    }

    pub(super) fn volume(&mut self, paths: &[Text]) {
        let mut shown = Vec::new();
        for text in paths {
            let path = self.expand(text);
            if path.is_empty() {
                let message = "VOLUME specified can not be an empty string";
                self.error("empty-volume", text.span, message);
                continue;
            }
            let volumes = &mut self.state.config.config.volumes;
            volumes.insert(path.clone(), Empty {});
            shown.push(path);
        }
        let text = format!("VOLUME {}", history::plain_list(&shown));
        self.state.changed(text);
    }

    pub(super) fn stop_signal(&mut self, signal: &Text) {
        let value = self.expand(signal);
        if let Err(error) = signal::parse(&value) {
            self.error("invalid-signal", signal.span, error.to_string());
        }
        self.state.config.config.stop_signal.clone_from(&value);
        self.state.changed(format!("STOPSIGNAL {value}"));
    }

    pub(super) fn healthcheck(&mut self, check: &kiln_parser::Healthcheck) {
        let check = match check {
            kiln_parser::Healthcheck::None => Healthcheck {
                test: vec!["NONE".to_owned()],
                ..Healthcheck::default()
            },
            kiln_parser::Healthcheck::Command {
                command,
                interval,
                timeout,
                start_period,
                start_interval,
                retries,
            } => Healthcheck {
                test: match command {
                    CommandLine::Shell(text) => vec!["CMD-SHELL".to_owned(), text.raw.clone()],
                    CommandLine::Exec(words) => {
                        let mut test = vec!["CMD".to_owned()];
                        test.extend(words.iter().cloned());
                        test
                    }
                },
                interval: *interval,
                timeout: *timeout,
                start_period: *start_period,
                start_interval: *start_interval,
                retries: *retries,
            },
        };
        self.state.changed(history::healthcheck(&check));
        self.state.config.config.healthcheck = Some(check);
    }
}

/// Sets a variable among `NAME=value` texts; a known one keeps its place, and of several only the
/// first stays.
fn set_in_config(env: &mut Vec<String>, name: &str, value: &str) {
    let is_known = |text: &String| {
        text.strip_prefix(name)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
    };
    let place = env.iter().position(is_known);
    let text = format!("{name}={value}");
    match place {
        None => env.push(text),
        Some(place) => {
            let mut position = 0;
            env.retain(|known| {
                position += 1;
                position - 1 <= place || !is_known(known)
            });
            env[place] = text;
        }
    }
}

fn join_pairs(pairs: &[(String, String)]) -> String {
    let pairs: Vec<String> = pairs.iter().map(|(k, v)| format!("{k}={v}")).collect();
    pairs.join(" ")
}
