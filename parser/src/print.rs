//! A tree back to text: canonical, and equal to the tree when parsed again.

use std::fmt::Write as _;

use crate::ast::{
    Arg, CommandLine, CopyFlags, Directives, Dockerfile, From, Healthcheck, Heredoc,
    InstructionKind, MountFlag, Pairs, Site, Source, Text,
};
use crate::heredoc::marker;
use crate::lines::MAX_LINE;
use crate::logical::{escape_byte, split_continuation};

/// Returns a Dockerfile that says the same.
///
/// Continuations are joined and ordinary comments lost, so spans differ; everything else parses
/// to the same tree again. Trees made by hand can hold what no file can say (a name with a blank in
/// it, say); such a tree comes back different.
#[must_use]
pub fn to_source(dockerfile: &Dockerfile) -> String {
    let mut printer = Printer {
        out: String::new(),
        escape: dockerfile.directives.escape,
    };
    printer.directives(&dockerfile.directives);
    for arg in &dockerfile.global_args {
        printer.comments(&arg.site);
        printer.arg(arg);
    }
    for stage in &dockerfile.stages {
        printer.comments(&stage.from.site);
        printer.from(&stage.from);
        for instruction in &stage.instructions {
            printer.comments(&instruction.site);
            printer.instruction(&instruction.site, &instruction.kind);
        }
    }
    printer.out
}

struct Printer {
    out: String,
    escape: char,
}

impl Printer {
    fn directives(&mut self, directives: &Directives) {
        let mut line = |name: &str, value: &str| {
            writeln!(self.out, "# {name}={value}").expect("writing to a String succeeds");
        };
        if let Some(syntax) = &directives.syntax {
            line("syntax", &syntax.raw);
        }
        if directives.escape != '\\' {
            line("escape", &directives.escape.to_string());
        }
        if let Some(check) = &directives.check {
            line("check", &check.raw);
        }
        // Ends the directives, lest a comment looks like one.
        self.out.push('\n');
    }

    fn comments(&mut self, site: &Site) {
        for comment in &site.comments {
            self.push("# ");
            self.push(&comment.raw);
            self.push("\n");
        }
    }

    /// Ends an instruction's line, unless a heredoc's terminator has.
    ///
    /// A line may end in an escape token and not be continued: a blank that is neither space nor
    /// tab stands behind it, or the file ends there.
    fn end_line(&mut self) {
        if self.out.ends_with('\n') {
            return;
        }
        let (_, continues) = split_continuation(self.out.as_bytes(), escape_byte(self.escape));
        if continues {
            self.push("\u{c}");
        }
        let start = self.out.rfind('\n').map_or(0, |index| index + 1);
        if self.out.len() - start > MAX_LINE {
            let line = self.out.split_off(start);
            self.long_line(&line);
        }
        self.push("\n");
    }

    /// Prints a line as several that continue each other.
    fn long_line(&mut self, mut line: &str) {
        while line.len() > MAX_LINE {
            // What follows must not look like a comment or a blank line, and what is in front must
            // not turn the escape token into one that is escaped.
            let may_break = |(index, next): &(usize, char)| {
                let in_front = line[..*index].chars().next_back();
                in_front.is_some_and(|before| before != self.escape)
                    && *next != '#'
                    && !next.is_whitespace()
            };
            let limit = line.floor_char_boundary(MAX_LINE - 1);
            let found = line[..limit].char_indices().rev().find(may_break);
            let (piece, rest) = line.split_at(found.map_or(limit, |(index, _)| index));
            self.push(piece);
            self.out.push(self.escape);
            self.push("\n");
            line = rest;
        }
        self.push(line);
    }

    fn push(&mut self, text: &str) {
        self.out.push_str(text);
    }

    fn word(&mut self, word: &str) {
        self.push(" ");
        self.push(word);
    }

    /// Prints the first word behind the flags; `--` keeps it from being taken for one.
    fn first(&mut self, word: &str) {
        if word.starts_with("--") {
            self.push(" --");
        }
        self.word(word);
    }

    fn nth(&mut self, index: usize, word: &str) {
        if index == 0 {
            self.first(word);
        } else {
            self.word(word);
        }
    }

    /// Prints a flag so that scanning it gives the value back.
    fn flag(&mut self, name: &str, value: &str) {
        self.push(" --");
        self.push(name);
        self.push("=");
        for character in value.chars() {
            if character.is_whitespace()
                || matches!(character, '"' | '\'')
                || character == self.escape
            {
                self.out.push(self.escape);
            }
            self.out.push(character);
        }
    }

    fn option(&mut self, name: &str, value: Option<&Text>) {
        if let Some(value) = value {
            self.flag(name, &value.raw);
        }
    }

    fn switch(&mut self, name: &str, value: Option<bool>) {
        if let Some(value) = value {
            self.flag(name, if value { "true" } else { "false" });
        }
    }

    fn arg(&mut self, arg: &Arg) {
        self.push(&arg.site.keyword.raw);
        for (index, (name, default)) in arg.declarations.iter().enumerate() {
            self.nth(index, &name.raw);
            if let Some(default) = default {
                self.push("=");
                self.push(&default.raw);
            }
        }
        self.end_line();
    }

    fn from(&mut self, from: &From) {
        self.push(&from.site.keyword.raw);
        self.option("platform", from.platform.as_ref());
        self.first(&from.image.raw);
        if let Some(name) = &from.name {
            self.word(
                from.as_keyword
                    .as_ref()
                    .map_or("AS", |keyword| &keyword.raw),
            );
            self.word(&name.raw);
        }
        self.end_line();
    }

    fn instruction(&mut self, site: &Site, kind: &InstructionKind) {
        if let InstructionKind::Arg(arg) = kind {
            return self.arg(arg);
        }
        self.push(&site.keyword.raw);
        match kind {
            InstructionKind::Arg(_) => unreachable!("returned above"),
            InstructionKind::Run(run) => {
                run.mounts.iter().for_each(|mount| self.mount(mount));
                self.option("network", run.network.as_ref());
                self.option("security", run.security.as_ref());
                run.devices
                    .iter()
                    .for_each(|device| self.flag("device", &device.raw));
                self.command(&run.command);
                self.bodies(run.heredocs.iter());
            }
            InstructionKind::Cmd(command) | InstructionKind::Entrypoint(command) => {
                self.command(command);
            }
            InstructionKind::Copy(copy) => {
                self.option("from", copy.from.as_ref());
                self.switch("parents", copy.parents.then_some(true));
                self.copy_flags(&copy.flags);
                self.copied(&copy.sources, &copy.destination);
            }
            InstructionKind::Add(add) => {
                self.copy_flags(&add.flags);
                self.option("checksum", add.checksum.as_ref());
                self.switch("keep-git-dir", add.keep_git_dir);
                self.switch("unpack", add.unpack);
                self.copied(&add.sources, &add.destination);
            }
            InstructionKind::Env(pairs) | InstructionKind::Label(pairs) => self.pairs(pairs),
            InstructionKind::Expose(words) => {
                words
                    .iter()
                    .enumerate()
                    .for_each(|(index, word)| self.nth(index, &word.raw));
            }
            InstructionKind::Volume(paths) => self.list(paths.iter()),
            InstructionKind::User(text)
            | InstructionKind::Workdir(text)
            | InstructionKind::StopSignal(text)
            | InstructionKind::Maintainer(text) => self.first(&text.raw),
            InstructionKind::Shell(arguments) => self.json(arguments.iter().map(String::as_str)),
            InstructionKind::Healthcheck(healthcheck) => self.healthcheck(healthcheck),
            InstructionKind::Onbuild(onbuild) => {
                let (line, bodies) = match onbuild.trigger.split_once('\n') {
                    Some((line, bodies)) => (line, Some(bodies)),
                    None => (onbuild.trigger.as_str(), None),
                };
                self.word(line);
                if let Some(bodies) = bodies {
                    self.end_line();
                    self.push(bodies);
                    self.push("\n");
                }
            }
        }
        self.end_line();
    }

    fn command(&mut self, command: &CommandLine) {
        match command {
            CommandLine::Shell(text) => self.first(&text.raw),
            CommandLine::Exec(arguments) => self.json(arguments.iter().map(String::as_str)),
        }
    }

    fn json<'a>(&mut self, strings: impl Iterator<Item = &'a str>) {
        let array = serde_json::Value::from_iter(strings);
        self.word(&array.to_string());
    }

    /// Prints words that may be in JSON form, in that form if blanks or marks ask for it.
    fn list<'a>(&mut self, words: impl Iterator<Item = &'a Text> + Clone) {
        let mut plain = words.clone().map(|word| word.raw.as_str());
        let first = words.clone().next().map_or("", |word| word.raw.as_str());
        let needs_json = first.starts_with('[')
            || first.starts_with("--")
            || plain.any(|word| {
                word.is_empty()
                    || word.contains(char::is_whitespace)
                    || word.ends_with(self.escape)
                    || marker(word).is_some()
            });
        if needs_json {
            self.json(words.map(|word| word.raw.as_str()));
        } else {
            words.for_each(|word| self.word(&word.raw));
        }
    }

    fn copy_flags(&mut self, flags: &CopyFlags) {
        let CopyFlags {
            chown,
            chmod,
            link,
            excludes,
        } = flags;
        self.option("chown", chown.as_ref());
        self.option("chmod", chmod.as_ref());
        self.switch("link", link.then_some(true));
        for pattern in excludes {
            self.flag("exclude", &pattern.raw);
        }
    }

    fn copied(&mut self, sources: &[Source], destination: &Text) {
        let heredocs = sources.iter().filter_map(|source| match source {
            Source::Heredoc(heredoc) => Some(heredoc),
            Source::Path(_) => None,
        });
        if heredocs.clone().next().is_none() {
            let paths = sources.iter().filter_map(|source| match source {
                Source::Path(path) => Some(path),
                Source::Heredoc(_) => None,
            });
            return self.list(paths.chain([destination]));
        }
        for (index, source) in sources.iter().enumerate() {
            match source {
                Source::Path(path) => self.nth(index, &path.raw),
                Source::Heredoc(heredoc) => self.marker(heredoc),
            }
        }
        self.word(&destination.raw);
        self.bodies(heredocs);
    }

    fn marker(&mut self, heredoc: &Heredoc) {
        self.push(" ");
        if heredoc.file_descriptor != 0 {
            self.push(&heredoc.file_descriptor.to_string());
        }
        self.push(if heredoc.chomp { "<<-" } else { "<<" });
        if heredoc.expand {
            for character in heredoc.name.chars() {
                if matches!(character, '\\' | '"' | '\'') {
                    self.push("\\");
                }
                self.out.push(character);
            }
        } else if heredoc.name.contains('\'') {
            self.push("\"");
            self.push(&heredoc.name.replace('\\', "\\\\").replace('"', "\\\""));
            self.push("\"");
        } else {
            self.push("'");
            self.push(&heredoc.name);
            self.push("'");
        }
    }

    /// Prints bodies and terminators, each on lines of their own.
    fn bodies<'a>(&mut self, heredocs: impl Iterator<Item = &'a Heredoc>) {
        for heredoc in heredocs {
            self.end_line();
            self.push(heredoc.verbatim());
            self.push(&heredoc.name);
            self.push("\n");
        }
    }

    fn pairs(&mut self, pairs: &Pairs) {
        for (index, (name, value)) in pairs.pairs.iter().enumerate() {
            self.nth(index, &name.raw);
            if !pairs.legacy {
                self.push("=");
            } else if name.raw.ends_with(self.escape) {
                // The first blank belongs to the word that says there is no `=`.
                self.push("  ");
            } else {
                self.push(" ");
            }
            self.push(&value.raw);
        }
    }

    fn mount(&mut self, mount: &MountFlag) {
        self.flag("mount", &mount.value.raw);
    }

    fn healthcheck(&mut self, healthcheck: &Healthcheck) {
        match healthcheck {
            Healthcheck::None => self.word("NONE"),
            Healthcheck::Command {
                command,
                interval,
                timeout,
                start_period,
                start_interval,
                retries,
            } => {
                for (name, nanoseconds) in [
                    ("interval", interval),
                    ("timeout", timeout),
                    ("start-period", start_period),
                    ("start-interval", start_interval),
                ] {
                    if *nanoseconds != 0 {
                        self.flag(name, &format!("{nanoseconds}ns"));
                    }
                }
                if *retries != 0 {
                    self.flag("retries", &retries.to_string());
                }
                self.word("CMD");
                match command {
                    CommandLine::Shell(text) => self.word(&text.raw),
                    CommandLine::Exec(_) => self.command(command),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
