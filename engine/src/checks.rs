//! Findings about a Dockerfile: what the parser's rules, the plan and the ignore file have to say,
//! as far as `# check=` lets it through.
//!
//! docs/spec/dockerfile.md 14.

use kiln_parser::lint::{CheckOptions, Rule, lint, rules};
use kiln_parser::{Diagnostic, Dockerfile, IgnoreRules, LineIndex, Origin, Site, Span, clean};
use kiln_solver::{ContextRead, Reporter, Survey};

use crate::definition::ignore_rules;
use crate::request::{BuildRequest, ContextSource};
use crate::{Error, SourceText};

/// A name that only patterns for all names match.
const NO_FILE: &str = "\u{10fffe}\u{10ffff}";

/// What is needed to find findings.
#[derive(Debug)]
pub(crate) struct Checks<'a> {
    request: &'a BuildRequest,
    source_text: &'a SourceText,
    dockerfile: &'a Dockerfile,
    sites: Sites<'a>,
    pub(crate) options: CheckOptions,
}

/// Stages by index.
type Stages = std::collections::BTreeSet<usize>;

impl<'a> Checks<'a> {
    /// Reads `# check=`, or the build argument that replaces it.
    pub(crate) fn new(
        request: &'a BuildRequest,
        source_text: &'a SourceText,
        dockerfile: &'a Dockerfile,
    ) -> Result<Self, Error> {
        let given = request.build_args.get("BUILDKIT_DOCKERFILE_CHECK");
        let directive = dockerfile.directives.check.as_ref();
        let (text, span) = match (given, directive) {
            (Some(text), _) => (text.as_str(), Span::default()),
            (None, Some(text)) => (CheckOptions::without_remark(&text.raw), text.span),
            (None, None) => ("", Span::default()),
        };
        let options = CheckOptions::parse(text).map_err(|error| {
            let error = Diagnostic::error(Origin::Lexing, "check-options", span, error.to_string());
            dockerfile_error(
                source_text,
                error.note("options are skip=RULES, error=true and experimental=RULES"),
            )
        })?;
        Ok(Self {
            request,
            source_text,
            dockerfile,
            sites: Sites::of(dockerfile),
            options,
        })
    }

    /// Returns the findings about the file and about the stages that were looked at, in file order,
    /// each once.
    ///
    /// # Errors
    /// When the ignore file cannot be used.
    pub(crate) fn findings(&self, survey: &Survey) -> Result<Vec<Diagnostic>, Error> {
        let mut all = lint(self.dockerfile, &self.options);
        all.retain(|finding| {
            let is_about_stages = Rule::from_name(finding.code).is_some_and(Rule::is_about_stages);
            !is_about_stages || self.is_in(finding, &survey.stages)
        });
        let ignored = self.ignored(&survey.reads)?;
        for finding in survey.findings.iter().chain(&ignored) {
            let site = self.sites.at(finding.span);
            let comments = site.map_or(&[][..], |site| &site.comments);
            let rule = Rule::from_name(finding.code);
            if rule.is_none_or(|rule| self.options.reports(rule, comments)) {
                let lines = site.map_or(finding.span, |site| site.span);
                all.push(finding.clone().within(lines));
            }
        }
        all.sort_by_key(|finding| (finding.lines.start, finding.span.start));
        let mut seen = std::collections::HashSet::new();
        all.retain(|finding| seen.insert((finding.lines, finding.message.clone())));
        Ok(all)
    }

    /// Rule CopyIgnoredFile. With re-inclusions it cannot be told without looking at the files.
    fn ignored(&self, reads: &[ContextRead]) -> Result<Vec<Diagnostic>, Error> {
        let ContextSource::Directory(directory) = &self.request.context else {
            return Ok(Vec::new());
        };
        let rules = match reads {
            [] => IgnoreRules::default(),
            _ => ignore_rules(self.request, directory)?,
        };
        if rules.reincludes() {
            return Ok(Vec::new());
        }
        let is_remote = |path: &str| path.contains("://");
        let local = reads.iter().filter(|read| !is_remote(&read.path));
        let findings = local.filter_map(|read| {
            let path = clean(&read.path);
            let is_ignored = match path.as_str() {
                // The root is no file that could be ignored, but all that is in it may be.
                "." | "/" => rules.is_ignored(NO_FILE),
                // BuildKit compares names as they are written, and patterns begin with no slash.
                path => !path.starts_with('/') && rules.is_ignored(path),
            };
            is_ignored.then(|| rules::copy_ignored_file(read.span, read.verb, &path))
        });
        Ok(findings.collect())
    }

    /// Tells the findings to progress.
    pub(crate) fn tell(&self, findings: &[Diagnostic], reporter: &Reporter<'_>) {
        let lines = LineIndex::new(&self.source_text.bytes);
        for finding in findings {
            let line = lines.line(finding.lines);
            reporter.finding(finding.clone(), line);
        }
    }

    /// Makes findings errors if `error=true`; those in stages that are not built do not count.
    pub(crate) fn judge(&self, findings: &[Diagnostic], built: &Stages) -> Result<(), Error> {
        let counted = findings.iter().filter(|finding| self.is_in(finding, built));
        let mut rules: Vec<&str> = counted.map(|finding| finding.code).collect();
        if !self.options.error || rules.is_empty() {
            return Ok(());
        }
        rules.sort_unstable();
        rules.dedup();
        let message = format!("lint violation found for rules: {}", rules.join(", "));
        // The findings themselves say where.
        let error = Diagnostic::error(Origin::Lexing, "lint", Span::default(), message);
        Err(dockerfile_error(self.source_text, error))
    }

    /// Returns whether a finding is in one of the stages, or above all of them.
    fn is_in(&self, finding: &Diagnostic, stages: &Stages) -> bool {
        let start = finding.lines.start;
        let all = &self.dockerfile.stages;
        let stage = all.partition_point(|stage| stage.from.site.span.start <= start);
        stage
            .checked_sub(1)
            .is_none_or(|stage| stages.contains(&stage))
    }
}

/// The instructions of a file, to be found by their places.
#[derive(Debug)]
pub(crate) struct Sites<'a>(Vec<&'a Site>);

impl<'a> Sites<'a> {
    pub(crate) fn of(dockerfile: &'a Dockerfile) -> Self {
        let global = dockerfile.global_args.iter().map(|arg| &arg.site);
        let mut sites: Vec<&Site> = global.collect();
        for stage in &dockerfile.stages {
            sites.push(&stage.from.site);
            sites.extend(
                stage
                    .instructions
                    .iter()
                    .map(|instruction| &instruction.site),
            );
        }
        Self(sites)
    }

    /// Returns the instruction that a place belongs to.
    pub(crate) fn at(&self, span: Span) -> Option<&'a Site> {
        // No place at all is not the beginning of the file.
        if span == Span::default() {
            return None;
        }
        let behind = self.0.partition_point(|site| site.span.start <= span.start);
        let site = self.0[behind.checked_sub(1)?];
        (span.end <= site.span.end).then_some(site)
    }
}

fn dockerfile_error(source_text: &SourceText, error: Diagnostic) -> Error {
    Error::Dockerfile {
        source_text: source_text.clone(),
        diagnostics: vec![error],
    }
}
