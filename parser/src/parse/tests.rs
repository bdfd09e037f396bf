mod heredocs; // where they are allowed, and what they hold
mod instructions; // flags, forms and arguments
mod lines; // lines, directives, comments

use super::*;
use crate::ast::{CommandLine, Source, Text};

/// Returns the tree, one line per instruction, then the messages.
fn show(text: &str) -> String {
    let parsed = parse(text.as_bytes());
    let mut out = String::new();
    let mut line = |text: String| {
        out.push_str(&text);
        out.push('\n');
    };
    for arg in &parsed.dockerfile.global_args {
        line(format!("ARG {}", show_args(arg)));
    }
    for stage in &parsed.dockerfile.stages {
        let from = &stage.from;
        let mut head = format!("FROM {}", from.image.raw);
        if let Some(name) = &from.name {
            head += &format!(" AS {}", name.raw);
        }
        if let Some(platform) = &from.platform {
            head += &format!(" platform={}", platform.raw);
        }
        line(head);
        for instruction in &stage.instructions {
            line(format!("  {}", show_kind(&instruction.kind)));
        }
    }
    for diagnostic in &parsed.diagnostics {
        line(format!("! {}", diagnostic.full_message()));
    }
    out
}

fn show_args(arg: &crate::ast::Arg) -> String {
    let words = arg
        .declarations
        .iter()
        .map(|(name, default)| match default {
            Some(default) => format!("{}={}", name.raw, default.raw),
            None => name.raw.clone(),
        });
    words.collect::<Vec<_>>().join(" | ")
}

fn show_command(command: &CommandLine) -> String {
    match command {
        CommandLine::Shell(text) => format!("shell {:?}", text.raw),
        CommandLine::Exec(arguments) => format!("exec {arguments:?}"),
    }
}

fn show_sources(sources: &[Source]) -> String {
    let sources = sources.iter().map(|source| match source {
        Source::Path(path) => format!("{:?}", path.raw),
        Source::Heredoc(heredoc) => {
            format!(
                "<<{} expand={} {:?}",
                heredoc.name, heredoc.expand, heredoc.body
            )
        }
    });
    sources.collect::<Vec<_>>().join(" ")
}

fn show_option(name: &str, text: &Option<Text>) -> String {
    text.as_ref()
        .map(|text| format!(" {name}={:?}", text.raw))
        .unwrap_or_default()
}

fn show_words(words: &[Text]) -> String {
    words
        .iter()
        .map(|word| format!("{:?}", word.raw))
        .collect::<Vec<_>>()
        .join(" ")
}

fn show_pairs(pairs: &crate::ast::Pairs) -> String {
    let words: Vec<_> = pairs
        .pairs
        .iter()
        .map(|(name, value)| format!("{}={}", name.raw, value.raw))
        .collect();
    format!(
        "{}{}",
        words.join(" | "),
        if pairs.legacy { " legacy" } else { "" }
    )
}

fn show_kind(kind: &InstructionKind) -> String {
    match kind {
        InstructionKind::Run(run) => {
            let mut out = format!("RUN {}", show_command(&run.command));
            for mount in &run.mounts {
                out += &format!(" mount={:?}", mount.fields);
            }
            out += &show_option("network", &run.network);
            out += &show_option("security", &run.security);
            for heredoc in &run.heredocs {
                out += &format!(" <<{} {:?}", heredoc.name, heredoc.body);
            }
            out
        }
        InstructionKind::Cmd(command) => format!("CMD {}", show_command(command)),
        InstructionKind::Entrypoint(command) => format!("ENTRYPOINT {}", show_command(command)),
        InstructionKind::Copy(copy) => format!(
            "COPY {} -> {:?}{}{}{}{}{}{}",
            show_sources(&copy.sources),
            copy.destination.raw,
            show_option("from", &copy.from),
            show_option("chown", &copy.flags.chown),
            show_option("chmod", &copy.flags.chmod),
            if copy.flags.link { " link" } else { "" },
            if copy.parents { " parents" } else { "" },
            copy.flags
                .excludes
                .iter()
                .map(|text| format!(" -{}", text.raw))
                .collect::<String>(),
        ),
        InstructionKind::Add(add) => format!(
            "ADD {} -> {:?}{} git={:?} unpack={:?}",
            show_sources(&add.sources),
            add.destination.raw,
            show_option("checksum", &add.checksum),
            add.keep_git_dir,
            add.unpack,
        ),
        InstructionKind::Env(pairs) => format!("ENV {}", show_pairs(pairs)),
        InstructionKind::Label(pairs) => format!("LABEL {}", show_pairs(pairs)),
        InstructionKind::Arg(arg) => format!("ARG {}", show_args(arg)),
        InstructionKind::Expose(words) => format!("EXPOSE {}", show_words(words)),
        InstructionKind::Volume(words) => format!("VOLUME {}", show_words(words)),
        InstructionKind::User(text) => format!("USER {:?}", text.raw),
        InstructionKind::Workdir(text) => format!("WORKDIR {:?}", text.raw),
        InstructionKind::StopSignal(text) => format!("STOPSIGNAL {:?}", text.raw),
        InstructionKind::Maintainer(text) => format!("MAINTAINER {:?}", text.raw),
        InstructionKind::Shell(arguments) => format!("SHELL {arguments:?}"),
        InstructionKind::Healthcheck(crate::ast::Healthcheck::None) => {
            "HEALTHCHECK none".to_owned()
        }
        InstructionKind::Healthcheck(crate::ast::Healthcheck::Command {
            command,
            interval,
            timeout,
            start_period,
            start_interval,
            retries,
        }) => format!(
            "HEALTHCHECK {} {interval} {timeout} {start_period} {start_interval} {retries}",
            show_command(command)
        ),
        InstructionKind::Onbuild(onbuild) => format!("ONBUILD {:?}", onbuild.trigger),
    }
}
