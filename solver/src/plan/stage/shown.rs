//! How progress, errors and `kiln why` call a step: its instruction on one line, with the values
//! that its variables had.

use kiln_parser::{
    Address, Instruction, InstructionKind, Quoting, Run, SourcePlace, expand, remote_source,
    without_logins,
};

use super::stage_plan::StagePlan;

/// What stands for the value of a variable that a secret will be in.
const MASKED: &str = "****";

/// Bytes that values may add to a name; longer ones say nothing to people.
const LONGEST_VALUES: usize = 4096;

impl StagePlan<'_, '_> {
    /// Returns how progress shows an instruction: its name in capitals, its text on one line.
    pub(super) fn shown(&self, instruction: &Instruction) -> String {
        let site = &instruction.site;
        let line = site.line.trim();
        let rest = line.get(site.keyword.raw.len()..).unwrap_or("").trim();
        let text = format!("{} {rest}", site.keyword.raw.to_uppercase());
        match &instruction.kind {
            InstructionKind::Run(run) => {
                let masked = self.secret_names(run);
                let text = format!("{text}{}", summary(run));
                self.with_values(&text, Quoting::Shown, &masked)
            }
            // Addresses may be quoted, and come from variables.
            InstructionKind::Add(_) => without_logins(&self.with_values(&text, Quoting::Word, &[])),
            InstructionKind::Copy(_) | InstructionKind::Workdir(_) => {
                self.with_values(&text, Quoting::Word, &[])
            }
            _ => text,
        }
    }

    /// Expands a text for people to read. If that fails it stays as it is; the error is noted where
    /// the text is used.
    fn with_values(&self, text: &str, quoting: Quoting, masked: &[String]) -> String {
        let env = &self.state.env;
        let lookup = |name: &str| {
            if masked.iter().any(|masked| masked == name) {
                Some(MASKED.to_owned())
            } else {
                env.get(name).map(str::to_owned)
            }
        };
        let escape = self.planner.dockerfile.directives.escape;
        let expanded = expand(text, escape, quoting, &lookup);
        match expanded {
            // A value may have several lines.
            Ok(expanded) if expanded.value.len() <= text.len() + LONGEST_VALUES => {
                expanded.value.replace(['\n', '\r'], " ")
            }
            Ok(_) | Err(_) => text.to_owned(),
        }
    }

    /// Returns the variables that a command finds secrets in.
    fn secret_names(&self, run: &Run) -> Vec<String> {
        let value = |fields: &[(String, Option<String>)], wanted: &str| {
            let mut found = fields.iter().filter(|(key, _)| key == wanted);
            found.next_back()?.1.clone()
        };
        let secrets = run.mounts.iter().map(|mount| mount.fields.as_slice());
        let secrets = secrets.filter(|fields| value(fields, "type").as_deref() == Some("secret"));
        let names = secrets.filter_map(|fields| value(fields, "env"));
        names
            .map(|name| self.with_values(&name, Quoting::Word, &[]))
            .collect()
    }
}

/// Returns the beginning of a script that stands in the Dockerfile, to be put behind its marker.
fn summary(run: &Run) -> String {
    let Some(script) = run.script() else {
        return String::new();
    };
    let mut lines = script.trim().lines();
    let first = lines.next().unwrap_or("");
    let more = if lines.next().is_some() { "..." } else { "" };
    format!(" ({first}{more})")
}

/// Returns a source argument as progress and history show it.
pub(super) fn without_password(path: &str) -> String {
    match remote_source(path, SourcePlace::Instruction) {
        Some(_) => Address::of(path).without_password(),
        None => path.to_owned(),
    }
}
