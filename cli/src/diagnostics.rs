//! What went wrong in a build, and where: text for people, from values of the engine.

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use kiln_engine::{Error, SourceText};
use kiln_parser::{Diagnostic, Severity, Span, excerpt, mask_logins};

use crate::clean;
use crate::failure::without_numbers;
use crate::progress::{BuildState, LintFinding, Palette, VertexState};

/// How much is shown of a file, and in which manner.
#[derive(Clone, Debug)]
pub(crate) enum Look {
    /// BuildKit's excerpts, which other programs recognise.
    Plain,
    /// Drawings with arrows, for people at a terminal.
    Drawn {
        /// Whether and how to use colours.
        palette: Palette,
        /// Characters in a line.
        width: usize,
    },
}

/// How much of a failed step's output is repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogExtent {
    /// Everything that was kept: the person has seen little of it.
    Everything,
    /// The last lines: the person has seen it pass by.
    LastLines(usize),
}

/// Returns the output of the step that failed, as BuildKit frames it; empty if none did.
pub(crate) fn failed_step(build: &BuildState, extent: LogExtent) -> String {
    match build.failed() {
        Some(vertex) if vertex.log.count() > 0 => framed_log(vertex, extent),
        _ => String::new(),
    }
}

fn framed_log(vertex: &VertexState, extent: LogExtent) -> String {
    const FRAME: &str = "------\n";
    let skipped = match extent {
        LogExtent::Everything => 0,
        LogExtent::LastLines(most) => vertex.log.lines().len().saturating_sub(most),
    };
    let name = clean::shorten(&vertex.name, clean::LONGEST_NAME);
    let mut text = format!("{FRAME} > {}:\n", clean::line(&name));
    if vertex.log.dropped() > 0 && extent == LogExtent::Everything {
        text.push_str("[output clipped, the last 2MiB follow]\n");
    }
    for line in vertex.log.lines().skip(skipped) {
        let seconds = line.at.as_secs_f64();
        text.push_str(&format!("{seconds:.3} {}\n", clean::output(&line.text)));
    }
    text + FRAME
}

/// Returns the parts of the file that an error is about; empty if it is about none.
pub(crate) fn places(error: &Error, look: &Look) -> String {
    match error {
        Error::Dockerfile {
            source_text,
            diagnostics,
        } => {
            let shown: Vec<String> = diagnostics
                .iter()
                .map(|diagnostic| {
                    let text = show(diagnostic, source_text, look);
                    match (look, diagnostics.len()) {
                        // With several, the closing line cannot speak for each.
                        (Look::Plain, 2..) => {
                            format!("{text}{}\n", diagnostic.full_message())
                        }
                        _ => text,
                    }
                })
                .collect();
            shown.join("\n")
        }
        // The closing line says what happened; here it is enough to show where.
        Error::Base {
            source_text, span, ..
        } => show(
            &place(*span, "this image cannot be used"),
            source_text,
            look,
        ),
        Error::Step {
            source_text, span, ..
        } => show(&place(*span, "this step failed"), source_text, look),
        _ => String::new(),
    }
}

/// Returns the one line that says why the build failed.
pub(crate) fn summary(error: &Error) -> String {
    match error {
        Error::Dockerfile { diagnostics, .. } if diagnostics.len() > 1 => {
            let others = diagnostics.len() - 1;
            let plural = if others == 1 { "" } else { "s" };
            format!("{error} (and {others} more error{plural})")
        }
        Error::Cancelled => "failed to solve: Canceled: context canceled".to_owned(),
        other => without_numbers(other.full_message()),
    }
}

/// Returns what lint rules found in a build; empty if that is nothing.
pub(crate) fn warnings(findings: &[LintFinding], palette: &Palette) -> String {
    if findings.is_empty() {
        return String::new();
    }
    let plural = if findings.len() == 1 { "" } else { "s" };
    let title = format!(" {} warning{plural} found:", findings.len());
    let mut text = format!("\n{}\n", palette.warning.apply_to(title));
    for LintFinding { finding, line } in findings {
        text.push_str(&format!(
            " - {}: {} (line {line})\n",
            finding.code, finding.message
        ));
    }
    text
}

fn place(span: Span, message: &str) -> Diagnostic {
    Diagnostic::error(kiln_parser::Origin::Lexing, "", span, message)
}

fn show(diagnostic: &Diagnostic, source_text: &SourceText, look: &Look) -> String {
    match look {
        Look::Plain => plain(diagnostic, source_text),
        Look::Drawn { palette, width } => draw(diagnostic, source_text, palette, *width),
    }
}

fn plain(diagnostic: &Diagnostic, source_text: &SourceText) -> String {
    let mut text = String::new();
    if is_placed(diagnostic) {
        text = excerpt(&source_text.bytes, &source_text.name, &[diagnostic.lines]);
    }
    for label in &diagnostic.labels {
        let line = label.span.line(&source_text.bytes);
        // Where the place is far from the other, it is shown too.
        if !text.contains(&format!("\n {line:3} | ")) {
            text.push_str(&excerpt(
                &source_text.bytes,
                &source_text.name,
                &[label.span],
            ));
        }
        text.push_str(&format!("note: line {line}: {}\n", label.text));
    }
    for note in &diagnostic.notes {
        text.push_str(&format!("note: {note}\n"));
    }
    if let Some(suggestion) = unsaid_suggestion(diagnostic) {
        text.push_str(&format!("hint: did you mean `{suggestion}`?\n"));
    }
    text
}

/// Says whether a diagnostic is about a place in the file and not about the command line or the file
/// as a whole.
fn is_placed(diagnostic: &Diagnostic) -> bool {
    diagnostic.lines != Span::default()
}

/// Returns the suggestion unless the message makes it already, as some of BuildKit's do.
fn unsaid_suggestion(diagnostic: &Diagnostic) -> Option<&str> {
    let suggestion = diagnostic.suggestion.as_deref()?;
    (!diagnostic.message.contains("did you mean")).then_some(suggestion)
}

fn draw(
    diagnostic: &Diagnostic,
    source_text: &SourceText,
    palette: &Palette,
    width: usize,
) -> String {
    // Masked text has the same length, so places stay right.
    let text = drawable(&mask_logins(&source_text.bytes));
    let range = |span: Span| {
        let end = (span.end as usize).min(text.len());
        (span.start as usize).min(end)..end
    };
    let level = match diagnostic.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let labels = diagnostic.labels.iter().map(|label| {
        AnnotationKind::Context
            .span(range(label.span))
            .label(label.text.as_str())
    });
    let snippet = Snippet::source(text.as_str())
        .path(source_text.name.as_str())
        .annotation(AnnotationKind::Primary.span(range(diagnostic.span)))
        .annotations(labels);
    let title = level.primary_title(diagnostic.message.as_str());
    let title = match diagnostic.code {
        "" => title,
        code => title.id(code),
    };
    let notes = diagnostic
        .notes
        .iter()
        .map(|note| Level::NOTE.message(note.as_str()));
    let help = unsaid_suggestion(diagnostic)
        .into_iter()
        .map(|suggestion| Level::HELP.message(format!("did you mean `{suggestion}`?")));
    let mut group: Group<'_> = Group::with_title(title);
    if is_placed(diagnostic) {
        group = group.element(snippet);
    }
    let group = group.elements(notes).elements(help);
    let renderer = if palette.is_coloured {
        Renderer::styled()
    } else {
        Renderer::plain()
    };
    format!("{}\n", renderer.term_width(width).render(&[group]))
}

/// Returns text of the same length in bytes: what is not UTF-8 becomes question marks.
fn drawable(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|_| '?'));
    }
    text
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use insta::assert_snapshot;
    use kiln_parser::Origin;

    use super::*;

    fn file(text: &str) -> SourceText {
        SourceText {
            name: "Dockerfile".to_owned(),
            bytes: Arc::from(text.as_bytes()),
        }
    }

    fn span(text: &str, needle: &str) -> Span {
        let start = u32::try_from(text.find(needle).unwrap()).unwrap();
        Span::new(start, start + u32::try_from(needle.len()).unwrap())
    }

    fn sample() -> Error {
        let text = "FROM a AS build\nRUN make\nFROM b\nCOPY --from=buidl /app /app\n";
        Error::Dockerfile {
            source_text: file(text),
            diagnostics: vec![
                Diagnostic::error(
                    Origin::Lexing,
                    "UnknownStage",
                    span(text, "buidl"),
                    "COPY --from names an unknown stage",
                )
                .within(span(text, "COPY --from=buidl /app /app"))
                .note("no stage, named context or image has this name")
                .suggest(Some("build"))
                .label(span(text, "build"), "a stage with a similar name"),
            ],
        }
    }

    #[test]
    fn excerpts_for_logs() {
        assert_snapshot!(places(&sample(), &Look::Plain), @r"
        Dockerfile:4
        --------------------
           2 |     RUN make
           3 |     FROM b
           4 | >>> COPY --from=buidl /app /app
           5 |     
        --------------------
        Dockerfile:1
        --------------------
           1 | >>> FROM a AS build
           2 |     RUN make
           3 |     FROM b
        --------------------
        note: line 1: a stage with a similar name
        note: no stage, named context or image has this name
        hint: did you mean `build`?
        ");
    }

    #[test]
    fn drawings_for_people() {
        let look = Look::Drawn {
            palette: Palette::none(),
            width: 80,
        };
        assert_snapshot!(places(&sample(), &look), @r"
        error[UnknownStage]: COPY --from names an unknown stage
         --> Dockerfile:4:13
          |
        1 | FROM a AS build
          |           ----- a stage with a similar name
        ...
        4 | COPY --from=buidl /app /app
          |             ^^^^^
          |
          = note: no stage, named context or image has this name
          = help: did you mean `build`?
        ");
    }

    #[test]
    fn passwords_in_addresses_are_masked() {
        let text = "ADD http://user:s3cret@h/x /\n";
        let error = Error::Dockerfile {
            source_text: file(text),
            diagnostics: vec![Diagnostic::error(
                Origin::Lexing,
                "X",
                span(text, "/x"),
                "no http://user:s3cret@h/x",
            )],
        };
        let drawn = Look::Drawn {
            palette: Palette::none(),
            width: 80,
        };
        for look in [Look::Plain, drawn] {
            let shown = places(&error, &look) + &summary(&error);
            assert!(!shown.contains("s3cret"), "{shown}");
            assert!(shown.contains("http://***********@h/x"), "{shown}");
        }
    }

    #[test]
    fn several_errors_are_all_shown() {
        let text = "FORM a\nCPOY b c\n";
        let error = |needle: &str, line| {
            Diagnostic::error(
                Origin::Grammar { line },
                "UnknownInstruction",
                span(text, needle),
                format!("unknown instruction: {needle}"),
            )
        };
        let error = Error::Dockerfile {
            source_text: file(text),
            diagnostics: vec![error("FORM", 1), error("CPOY", 2)],
        };
        assert_snapshot!(places(&error, &Look::Plain).replace(" \n", "$\n"), @r"
        Dockerfile:1
        --------------------
           1 | >>> FORM a
           2 |     CPOY b c
           3 |    $
        --------------------
        dockerfile parse error on line 1: unknown instruction: FORM

        Dockerfile:2
        --------------------
           1 |     FORM a
           2 | >>> CPOY b c
           3 |    $
        --------------------
        dockerfile parse error on line 2: unknown instruction: CPOY
        ");
        assert_snapshot!(
            summary(&error),
            @"dockerfile parse error on line 1: unknown instruction: FORM (and 1 more error)"
        );
    }

    #[test]
    fn bytes_that_are_not_text_keep_places_right() {
        assert_eq!(drawable(b"a\xff\xfe\xc3\xbc"), "a??ü");
    }

    #[test]
    fn findings_are_listed_by_line() {
        let found = |code, line, message: &str| LintFinding {
            finding: Diagnostic::warning(code, Span::default(), message),
            line,
        };
        let findings = [
            found("FromAsCasing", 1, "casing does not match"),
            found("JSONArgsRecommended", 2, "use JSON"),
        ];
        assert_eq!(
            warnings(&findings, &Palette::none()),
            "\n 2 warnings found:\n - FromAsCasing: casing does not match (line 1)\n \
             - JSONArgsRecommended: use JSON (line 2)\n"
        );
        assert_eq!(warnings(&[], &Palette::none()), "");
    }
}
