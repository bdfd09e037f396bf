//! Lint rules that need the tree alone.
//!
//! Rules about values (undefined variables, paths, what base images say) are the solver's; both
//! use the words of [`rules`].

mod options;
pub mod rules;

use std::cell::RefCell;
use std::collections::HashMap;
use std::collections::hash_map::Entry;

use crate::ast::{Arg, Dockerfile, From, Instruction, InstructionKind, Pairs, Site, Stage};
use crate::diagnostic::Diagnostic;
use crate::expand::{Quoting, expand};
use crate::span::Span;

pub use options::{CheckOptions, CheckOptionsError};
pub use rules::Rule;

/// Says whether a platform is that of the target for every target:
/// `$TARGETPLATFORM`, in braces, quoted, or with a default that never counts.
fn is_target_platform(written: &str) -> bool {
    const NAME: &str = "TARGETPLATFORM";
    // No platform has this name, so only the variable can have been the one to give it.
    const VALUE: &str = "\0";
    let asked = RefCell::new(Vec::new());
    let lookup = |name: &str| {
        asked.borrow_mut().push(name.to_owned());
        (name == NAME).then(|| VALUE.to_owned())
    };
    let expanded = expand(written, '\\', Quoting::Word, &lookup);
    expanded.is_ok_and(|expansion| expansion.value == VALUE)
        && asked.take().iter().all(|name| name == NAME)
}

/// Returns the findings the options let through, in file order.
#[must_use]
pub fn lint(dockerfile: &Dockerfile, options: &CheckOptions) -> Vec<Diagnostic> {
    let mut linter = Linter {
        options,
        findings: Vec::new(),
    };
    for arg in &dockerfile.global_args {
        linter.continuation(&arg.site);
        linter.arg(arg, &arg.site);
    }
    linter.casing(&dockerfile.stages);
    linter.stage_names(&dockerfile.stages);
    for stage in &dockerfile.stages {
        linter.from(&stage.from);
        linter.commands(stage);
        for instruction in &stage.instructions {
            linter.instruction(instruction);
        }
    }
    linter.findings.sort_by_key(|finding| finding.lines.start);
    linter.findings
}

struct Linter<'a> {
    options: &'a CheckOptions,
    findings: Vec<Diagnostic>,
}

impl Linter<'_> {
    fn report(&mut self, rule: Rule, site: &Site, finding: Diagnostic) {
        if self.options.reports(rule, &site.comments) {
            self.findings.push(finding.within(site.span));
        }
    }

    fn continuation(&mut self, site: &Site) {
        let Some(span) = site.empty_continuation else {
            return;
        };
        if self
            .options
            .reports(Rule::NoEmptyContinuation, &site.comments)
        {
            self.findings.push(rules::no_empty_continuation(span));
        }
    }

    fn casing(&mut self, stages: &[Stage]) {
        let sites = || {
            stages.iter().flat_map(|stage| {
                let inner = stage
                    .instructions
                    .iter()
                    .map(|instruction| &instruction.site);
                std::iter::once(&stage.from.site).chain(inner)
            })
        };
        let lower = sites().filter(|site| is_lower(&site.keyword.raw)).count();
        let upper = sites().filter(|site| is_upper(&site.keyword.raw)).count();
        let majority_is_lower = lower > upper;
        for site in sites() {
            let name = &site.keyword.raw;
            let (fits, majority) = if majority_is_lower {
                (is_lower(name), "lowercase")
            } else {
                (is_upper(name), "uppercase")
            };
            if !fits {
                let replacement = if majority_is_lower {
                    name.to_lowercase()
                } else {
                    name.to_uppercase()
                };
                let finding =
                    rules::consistent_instruction_casing(site.keyword.span, name, majority)
                        .suggest(Some(&replacement));
                self.report(Rule::ConsistentInstructionCasing, site, finding);
            }
        }
    }

    fn stage_names(&mut self, stages: &[Stage]) {
        let mut seen: HashMap<String, Span> = HashMap::new();
        for from in stages.iter().map(|stage| &stage.from) {
            let Some(name) = &from.name else { continue };
            let lower = name.raw.to_lowercase();
            if lower != name.raw {
                let finding = rules::stage_name_casing(name.span, &name.raw);
                self.report(Rule::StageNameCasing, &from.site, finding);
            }
            if lower == "scratch" || lower == "context" {
                let finding = rules::reserved_stage_name(name.span, &lower);
                self.report(Rule::ReservedStageName, &from.site, finding);
            }
            match seen.entry(lower) {
                Entry::Vacant(vacant) => {
                    vacant.insert(name.span);
                }
                Entry::Occupied(first) => {
                    let finding = rules::duplicate_stage_name(name.span, first.key())
                        .label(*first.get(), "the first one is here");
                    self.report(Rule::DuplicateStageName, &from.site, finding);
                }
            }
        }
    }

    fn from(&mut self, from: &From) {
        let site = &from.site;
        self.continuation(site);
        let keyword = &site.keyword.raw;
        if let Some(as_keyword) = &from.as_keyword {
            let word = &as_keyword.raw;
            let differ =
                (is_lower(keyword) && !is_lower(word)) || (is_upper(keyword) && !is_upper(word));
            if differ {
                let finding = rules::from_as_casing(as_keyword.span, word, keyword);
                self.report(Rule::FromAsCasing, site, finding);
            }
        }
        if let Some(name) = &from.name {
            self.description("FROM", &[&name.raw.to_lowercase()], site);
        }
        let Some(platform) = &from.platform else {
            return;
        };
        let name = from
            .name
            .as_ref()
            .map(|name| name.raw.to_lowercase())
            .unwrap_or_default();
        match platform.raw.as_str() {
            written if is_target_platform(written) => {
                let finding = rules::redundant_target_platform(platform.span, written);
                self.report(Rule::RedundantTargetPlatform, site, finding);
            }
            constant if !constant.contains('$') && !is_named_after(&name, constant) => {
                let finding = rules::from_platform_flag_const_disallowed(platform.span, constant);
                self.report(Rule::FromPlatformFlagConstDisallowed, site, finding);
            }
            _ => {}
        }
    }

    /// Instructions of which only the last one of a stage counts.
    fn commands(&mut self, stage: &Stage) {
        let (mut cmd, mut entrypoint, mut healthcheck) = (None, None, None);
        for instruction in &stage.instructions {
            let earlier = match &instruction.kind {
                InstructionKind::Cmd(_) => &mut cmd,
                InstructionKind::Entrypoint(_) => &mut entrypoint,
                InstructionKind::Healthcheck(_) => &mut healthcheck,
                _ => continue,
            };
            if let Some(earlier) = earlier.replace(instruction) {
                let earlier: &Instruction = earlier;
                let span = earlier.site.span;
                let name = &instruction.site.keyword.raw;
                let finding = rules::multiple_instructions_disallowed(span, name)
                    .label(instruction.site.keyword.span, "this one is used");
                self.report(Rule::MultipleInstructionsDisallowed, &earlier.site, finding);
            }
        }
    }

    fn instruction(&mut self, instruction: &Instruction) {
        let site = &instruction.site;
        self.continuation(site);
        match &instruction.kind {
            InstructionKind::Maintainer(_) => {
                let finding = rules::maintainer_deprecated(site.span);
                self.report(Rule::MaintainerDeprecated, site, finding);
            }
            InstructionKind::Env(pairs) => {
                self.legacy(pairs, site);
                for (name, _) in &pairs.pairs {
                    self.secret(&name.raw, name.span, site);
                }
            }
            InstructionKind::Label(pairs) => self.legacy(pairs, site),
            InstructionKind::Arg(arg) => self.arg(arg, site),
            _ => {}
        }
    }

    fn legacy(&mut self, pairs: &Pairs, site: &Site) {
        if let (true, [(name, value)]) = (pairs.legacy, pairs.pairs.as_slice()) {
            let span = name.span.cover(value.span);
            let finding = rules::legacy_key_value_format(span, &site.keyword.raw);
            self.report(Rule::LegacyKeyValueFormat, site, finding);
        }
    }

    fn arg(&mut self, arg: &Arg, site: &Site) {
        for (name, _) in &arg.declarations {
            self.secret(&name.raw, name.span, site);
        }
        let names: Vec<&str> = arg
            .declarations
            .iter()
            .map(|(name, _)| &*name.raw)
            .collect();
        self.description("ARG", &names, site);
    }

    fn secret(&mut self, name: &str, span: Span, site: &Site) {
        if looks_secret(name) {
            let finding = rules::secrets_used_in_arg_or_env(span, &site.keyword.raw, name);
            self.report(Rule::SecretsUsedInArgOrEnv, site, finding);
        }
    }

    /// The last comment above a definition should start with a name it defines.
    fn description(&mut self, instruction: &str, names: &[&str], site: &Site) {
        let Some(comment) = site.comments.last() else {
            return;
        };
        let first = comment.raw.split(' ').next().unwrap_or_default();
        if names.contains(&first) {
            return;
        }
        let name = match names {
            [name] => name,
            _ => "<arg_key>",
        };
        let finding = rules::invalid_definition_description(comment.span, instruction, name);
        self.report(Rule::InvalidDefinitionDescription, site, finding);
    }
}

fn is_lower(word: &str) -> bool {
    !word.contains(|c: char| c.is_uppercase())
}

fn is_upper(word: &str) -> bool {
    !word.contains(|c: char| c.is_lowercase())
}

/// Returns whether a stage's name tells for which system or architecture it is.
fn is_named_after(name: &str, platform: &str) -> bool {
    let mut parts = platform.split('/').filter(|part| !part.is_empty()).take(2);
    parts.any(|part| name.contains(&part.to_lowercase()))
}

/// Returns whether one of a name's words, which `_` separates, says secret and none says harmless.
fn looks_secret(name: &str) -> bool {
    const SECRET: [&str; 10] = [
        "apikey",
        "auth",
        "credential",
        "credentials",
        "key",
        "password",
        "pword",
        "passwd",
        "secret",
        "token",
    ];
    const HARMLESS: [&str; 3] = ["public", "file", "version"];
    let lower = name.to_lowercase();
    let has = |words: &[&str]| lower.split('_').any(|word| words.contains(&word));
    has(&SECRET) && !has(&HARMLESS)
}

#[cfg(test)]
mod tests;
