//! Findings about a Dockerfile: what the parser's rules and the plan have to say, as far as the
//! file's own `# check=` lets it through.

use kiln_parser::lint::{CheckOptions, Rule, lint};
use kiln_parser::{Diagnostic, Dockerfile, Origin, Span};

/// Reads `# check=`.
pub(crate) fn options(dockerfile: &Dockerfile) -> Result<CheckOptions, Box<Diagnostic>> {
    let Some(check) = &dockerfile.directives.check else {
        return Ok(CheckOptions::default());
    };
    CheckOptions::parse(&check.raw).map_err(|error| {
        let message = format!("failed to parse check options: {error}");
        let code = "check-options";
        Box::new(Diagnostic::error(Origin::Lexing, code, check.span, message))
    })
}

/// Returns the findings in file order.
pub(crate) fn findings(
    dockerfile: &Dockerfile,
    options: &CheckOptions,
    planned: &[Diagnostic],
) -> Vec<Diagnostic> {
    let mut all = lint(dockerfile, options);
    let is_wanted = |finding: &&Diagnostic| {
        let comments = comments_above(dockerfile, finding.span);
        Rule::from_name(finding.code).is_none_or(|rule| options.reports(rule, comments))
    };
    all.extend(planned.iter().filter(is_wanted).cloned());
    all.sort_by_key(|finding| finding.span.start);
    all.dedup();
    all
}

/// Returns the error that `# check=error=true` makes of findings.
pub(crate) fn violation(findings: &[Diagnostic]) -> Diagnostic {
    let mut rules: Vec<&str> = findings.iter().map(|finding| finding.code).collect();
    rules.sort_unstable();
    rules.dedup();
    let span = findings
        .first()
        .map_or_else(Span::default, |finding| finding.span);
    let message = format!("lint violation found for rules: {}", rules.join(", "));
    let mut error = Diagnostic::error(Origin::Lexing, "lint", span, message);
    for finding in findings {
        error = error.label(finding.span, finding.message.clone());
    }
    error
}

/// Returns the comments of the instruction that a place belongs to.
fn comments_above(dockerfile: &Dockerfile, span: Span) -> &[kiln_parser::Text] {
    let sites = dockerfile.stages.iter().flat_map(|stage| {
        let instructions = stage
            .instructions
            .iter()
            .map(|instruction| &instruction.site);
        std::iter::once(&stage.from.site).chain(instructions)
    });
    sites
        .into_iter()
        .find(|site| site.span.start <= span.start && span.end <= site.span.end)
        .map_or(&[], |site| &site.comments)
}
