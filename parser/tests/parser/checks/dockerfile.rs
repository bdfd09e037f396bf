//! Whole files.

use kiln_parser::lint::CheckOptions;
use kiln_parser::{
    Diagnostic, Dockerfile, Instruction, InstructionKind, Quoting, Site, Source, Span, Text,
    excerpt, expand, lint, parse, parse_instruction, to_source,
};

use super::choice_and_text;
use super::essence::essence;

/// Parses, checks and prints a file.
///
/// Everything that is found lies in the file, and a file without errors says the same after it was
/// printed and parsed again.
pub fn dockerfile(data: &[u8]) {
    let parsed = parse(data);
    let tree = &parsed.dockerfile;
    let everything = CheckOptions::parse("experimental=all").expect("these options are known");
    let warnings = lint(tree, &everything);
    for found in parsed.diagnostics.iter().chain(&warnings) {
        finding_lies_in(found, data);
    }
    if let Some(found) = parsed.diagnostics.first() {
        assert!(!excerpt(data, "Dockerfile", &[found.lines]).is_empty());
    }
    for (site, instruction) in sites(tree) {
        lies_in(site.span, data);
        is_at(&site.keyword, data);
        site.comments
            .iter()
            .for_each(|comment| lies_in(comment.span, data));
        if let Some(instruction) = instruction {
            parts_lie_in(instruction, data, tree.directives.escape);
        }
    }
    if parsed.diagnostics.is_empty() {
        comes_back(tree);
    }
}

/// Reads a text as a heredoc, its first line as what follows the instruction's name.
pub fn heredoc(data: &[u8]) {
    let (choice, text) = choice_and_text(data);
    let name = ["RUN", "COPY", "ADD", "ONBUILD RUN", "ONBUILD COPY"][usize::from(choice) % 5];
    let file = format!("FROM a\n{name} {text}");
    dockerfile(file.as_bytes());
    for (_, instruction) in sites(&parse(file.as_bytes()).dockerfile) {
        let heredocs: Vec<_> = match instruction.map(|instruction| &instruction.kind) {
            Some(InstructionKind::Run(run)) => {
                let _ = run.program();
                run.heredocs.iter().collect()
            }
            Some(InstructionKind::Copy(copy)) => heredocs(&copy.sources),
            Some(InstructionKind::Add(add)) => heredocs(&add.sources),
            _ => continue,
        };
        for heredoc in heredocs {
            assert!(file.contains(heredoc.verbatim()), "{heredoc:?}");
            assert!(!heredoc.name.is_empty());
            if heredoc.chomp {
                let mut lines = heredoc.body.lines();
                assert!(lines.all(|line| !line.starts_with('\t')), "{heredoc:?}");
            }
            let _ = expand(&heredoc.body, '`', Quoting::HeredocBody, &|_| None);
        }
    }
}

fn heredocs(sources: &[Source]) -> Vec<&kiln_parser::Heredoc> {
    sources
        .iter()
        .filter_map(|source| match source {
            Source::Heredoc(heredoc) => Some(heredoc),
            Source::Path(_) => None,
        })
        .collect()
}

/// Returns the sites of all instructions, and the instructions where there are.
fn sites(tree: &Dockerfile) -> impl Iterator<Item = (&Site, Option<&Instruction>)> {
    let global = tree.global_args.iter().map(|arg| (&arg.site, None));
    let staged = tree.stages.iter().flat_map(|stage| {
        let instructions = stage.instructions.iter();
        let below = instructions.map(|instruction| (&instruction.site, Some(instruction)));
        std::iter::once((&stage.from.site, None)).chain(below)
    });
    global.chain(staged)
}

fn comes_back(tree: &Dockerfile) {
    let printed = to_source(tree);
    let again = parse(printed.as_bytes());
    assert_eq!(again.diagnostics, [], "{printed}");
    assert_eq!(essence(&again.dockerfile), essence(tree), "{printed}");
    assert_eq!(to_source(&again.dockerfile), printed);
}

fn finding_lies_in(found: &Diagnostic, data: &[u8]) {
    lies_in(found.span, data);
    lies_in(found.lines, data);
    found
        .labels
        .iter()
        .for_each(|label| lies_in(label.span, data));
    assert!(!found.message.is_empty());
}

fn parts_lie_in(instruction: &Instruction, data: &[u8], escape: char) {
    match &instruction.kind {
        InstructionKind::Copy(copy) => {
            lies_in(copy.destination.span, data);
            sources_lie_in(&copy.sources, data);
        }
        InstructionKind::Add(add) => sources_lie_in(&add.sources, data),
        InstructionKind::Run(run) => run
            .mounts
            .iter()
            .for_each(|mount| lies_in(mount.value.span, data)),
        InstructionKind::Env(pairs) | InstructionKind::Label(pairs) => {
            pairs.pairs.iter().for_each(|(name, value)| {
                lies_in(name.span, data);
                lies_in(value.span, data);
            });
        }
        InstructionKind::Expose(words) | InstructionKind::Volume(words) => {
            words.iter().for_each(|word| lies_in(word.span, data));
        }
        InstructionKind::Onbuild(onbuild) => {
            lies_in(onbuild.span, data);
            let _ = parse_instruction(&onbuild.trigger, escape);
        }
        _ => {}
    }
}

fn sources_lie_in(sources: &[Source], data: &[u8]) {
    for source in sources {
        match source {
            Source::Path(path) => lies_in(path.span, data),
            Source::Heredoc(heredoc) => lies_in(heredoc.marker, data),
        }
    }
}

fn lies_in(span: Span, data: &[u8]) {
    assert!(span.start <= span.end, "{span:?}");
    assert!(
        span.end as usize <= data.len(),
        "{span:?} of {}",
        data.len()
    );
    if let Ok(text) = str::from_utf8(data) {
        assert!(text.is_char_boundary(span.start as usize), "{span:?}");
        assert!(text.is_char_boundary(span.end as usize), "{span:?}");
    }
}

/// Checks that a text stands where it says, unless a continuation runs through it.
fn is_at(text: &Text, data: &[u8]) {
    lies_in(text.span, data);
    let found = &data[text.span.start as usize..text.span.end as usize];
    if !found.contains(&b'\n') && str::from_utf8(found).is_ok() {
        assert_eq!(found, text.raw.as_bytes(), "{:?}", text.span);
    }
}
