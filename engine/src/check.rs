//! Findings about a Dockerfile: what the parser's rules, the plan and the ignore file have to say,
//! as far as `# check=` lets it through.
//!
//! spec/dockerfile.md section 14.

use kiln_parser::lint::{CheckOptions, Rule, lint, rules};
use kiln_parser::{
    Diagnostic, Dockerfile, IgnoreRules, LineIndex, Origin, Site, Span, clean, parse,
};
use kiln_solver::{ContextRead, Extent, Progress, Reporter, Survey, survey};

use crate::bases::Resolver;
use crate::building::{check_syntax, plan_error, plan_options};
use crate::definition::{self, Definition, ignore_rules};
use crate::outside::Outside;
use crate::request::{BuildRequest, ContextSource};
use crate::stores::Stores;
use crate::{Error, SourceText};

/// What looking at a Dockerfile came to.
#[derive(Debug)]
pub struct CheckResult {
    /// What the lint rules say, in file order.
    pub findings: Vec<Diagnostic>,
    /// Why the file could not be built, if so.
    pub problem: Option<Error>,
    /// The Dockerfile, for excerpts.
    pub source_text: SourceText,
}

/// Looks at a Dockerfile without building it: at all stages, or at the target and what it needs
/// if there is one. Images it starts from are looked up, since rules ask for their configs.
///
/// # Errors
/// When there is no Dockerfile to be read. That it is wrong is part of the result.
pub fn check(
    stores: &Stores,
    outside: &Outside,
    request: &BuildRequest,
    progress: &dyn Progress,
) -> Result<CheckResult, Error> {
    let reporter = Reporter::new(progress);
    let Definition {
        source_text,
        dockerfile,
        ..
    } = match definition::look(stores, outside, request, &reporter) {
        Ok(definition) => definition,
        Err(Error::Dockerfile {
            source_text,
            diagnostics,
        }) => {
            return Ok(CheckResult {
                findings: found_before(request, &source_text, &diagnostics),
                source_text: source_text.clone(),
                problem: Some(Error::Dockerfile {
                    source_text,
                    diagnostics,
                }),
            });
        }
        Err(error) => return Err(error),
    };
    let mut findings = Vec::new();
    let problem = look(
        stores,
        outside,
        request,
        &source_text,
        &dockerfile,
        &reporter,
        &mut findings,
    )
    .err();
    Ok(CheckResult {
        findings,
        problem,
        source_text,
    })
}

fn look(
    stores: &Stores,
    outside: &Outside,
    request: &BuildRequest,
    source_text: &SourceText,
    dockerfile: &Dockerfile,
    reporter: &Reporter<'_>,
    findings: &mut Vec<Diagnostic>,
) -> Result<(), Error> {
    check_syntax(request, source_text)?;
    let checks = Checks::new(request, source_text, dockerfile)?;
    let resolver = Resolver {
        stores,
        client: &outside.client,
        pull: request.pull,
        reporter,
    };
    let extent = match request.target {
        Some(_) => Extent::Target,
        None => Extent::EveryStage,
    };
    let survey = survey(dockerfile, &plan_options(request)?, extent, &resolver);
    *findings = checks.findings(&survey)?;
    survey
        .plan
        .map_err(|error| plan_error(error, source_text, dockerfile))?;
    checks.judge(findings, &survey.stages)
}

/// A name that only patterns for all names match.
const NO_FILE: &str = "\u{10fffe}\u{10ffff}";

/// What is needed to find findings.
#[derive(Debug)]
pub(crate) struct Checks<'a> {
    request: &'a BuildRequest,
    source_text: &'a SourceText,
    dockerfile: &'a Dockerfile,
    sites: Sites<'a>,
    options: CheckOptions,
}

/// Returns what rules say of a file with errors: of the text as a whole, and of the instructions up
/// to the first error. Where the text cannot even be cut into instructions, they say nothing.
fn found_before(
    request: &BuildRequest,
    source_text: &SourceText,
    errors: &[Diagnostic],
) -> Vec<Diagnostic> {
    let is_lexing = |error: &Diagnostic| error.origin == Origin::Lexing;
    let end = errors.iter().map(|error| error.lines.end).min();
    let (Some(end), false) = (end, errors.iter().any(is_lexing)) else {
        return Vec::new();
    };
    let dockerfile = parse(&source_text.bytes).dockerfile;
    let Ok(checks) = Checks::new(request, source_text, &dockerfile) else {
        return Vec::new();
    };
    let mut found = lint(&dockerfile, &checks.options);
    found.retain(|finding| match Rule::from_name(finding.code) {
        Some(Rule::NoEmptyContinuation) => true,
        Some(rule) => rule.is_about_one_instruction() && finding.lines.start < end,
        None => false,
    });
    found
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

    /// Tells the findings to whoever watches.
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
