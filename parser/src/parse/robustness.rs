//! Inputs that no user writes. Sized so that anything quadratic would take minutes.

use proptest::prelude::*;

use super::*;
use crate::ast::Source;

#[test]
fn many_continuation_lines() {
    let count = 100_000;
    let text = format!("FROM a\nRUN x{}\n", " \\\n# c\n\n y".repeat(count));
    let parsed = parse(text.as_bytes());
    assert_eq!(parsed.diagnostics, []);
    let site = &parsed.dockerfile.stages[0].instructions[0].site;
    assert_eq!(site.line.matches('y').count(), count);
}

#[test]
fn many_words_over_many_lines() {
    let text = format!("FROM a\nENV {}\n", "key=$value \\\n".repeat(200_000));
    let parsed = parse(text.as_bytes());
    let InstructionKind::Env(pairs) = &parsed.dockerfile.stages[0].instructions[0].kind else {
        panic!("not an ENV")
    };
    assert_eq!(pairs.pairs.len(), 200_000);
}

#[test]
fn ten_megabytes_of_instructions() {
    let text = format!("FROM a\n{}", "RUN echo \"hello\" && true\n".repeat(400_000));
    let parsed = parse(text.as_bytes());
    assert_eq!(parsed.dockerfile.stages[0].instructions.len(), 400_000);
}

#[test]
fn ten_megabytes_of_heredoc() {
    let body = "x <<B $y\n".repeat(1_200_000);
    let parsed = parse(format!("FROM a\nCOPY <<A /x\n{body}A\n").as_bytes());
    let InstructionKind::Copy(copy) = &parsed.dockerfile.stages[0].instructions[0].kind else {
        panic!("not a COPY")
    };
    let [Source::Heredoc(heredoc)] = copy.sources.as_slice() else {
        panic!("not a heredoc")
    };
    assert_eq!(heredoc.body, body);
}

#[test]
fn many_heredocs_parse_fast() {
    let count = 100_000;
    let markers = "<<A \\\n".repeat(count);
    let big = "z".repeat(60_000);
    let bodies = "A\n".repeat(count - 1);
    let text = format!("FROM a\nCOPY {markers} /x/\n{bodies}{big}\nA\nRUN b\n");
    let parsed = parse(text.as_bytes());
    assert_eq!(parsed.diagnostics, []);
    assert_eq!(parsed.dockerfile.stages[0].instructions.len(), 2);
}

#[test]
fn blanks_behind_a_marker() {
    let text = format!(
        "FROM a\nRUN <<{}A\nA\n",
        format!("{}\\\n", " ".repeat(60_000)).repeat(50)
    );
    assert_eq!(parse(text.as_bytes()).diagnostics, []);
}

#[test]
fn many_stages_parse_fast() {
    let mut text = String::new();
    for index in 0..50_000 {
        text += &format!("FROM s{} AS s{index}\nMAINTAINER x\n", index.max(1) - 1);
    }
    let parsed = parse(text.as_bytes());
    assert_eq!(parsed.diagnostics, []);
    let findings = crate::lint(&parsed.dockerfile, &crate::lint::CheckOptions::default());
    assert_eq!(findings.len(), 50_000);
}

#[test]
fn many_undefined_variables() {
    let word: String = (0..300_000).map(|index| format!("$v{index} ")).collect();
    let expanded = crate::expand(&word, '\\', crate::Quoting::HeredocBody, &|_| None).unwrap();
    assert_eq!(expanded.undefined.len(), 300_000);
}

#[test]
fn garbage_is_given_up_on() {
    let text: Vec<u8> = (0..10_000_000_u32)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    let parsed = parse(&text);
    assert!((1..200).contains(&parsed.diagnostics.len()));
    let zeros = vec![0; 1 << 20];
    assert_eq!(parse(&zeros).diagnostics.len(), 1);
}

#[test]
fn many_flags_parse_fast() {
    let count = 100_000;
    let mounts = "--mount=type=cache,target=/a \\\n".repeat(count);
    let excludes = "--exclude=a \\\n".repeat(count);
    let text = format!("FROM a\nRUN {mounts} x\nCOPY {excludes} x y\n");
    let parsed = parse(text.as_bytes());
    assert_eq!(parsed.diagnostics, []);
    let [run, copy] = parsed.dockerfile.stages[0].instructions.as_slice() else {
        panic!("not two instructions")
    };
    assert!(matches!(&run.kind, InstructionKind::Run(run) if run.mounts.len() == count));
    assert!(
        matches!(&copy.kind, InstructionKind::Copy(copy) if copy.flags.excludes.len() == count)
    );
    let unknown = format!("FROM a\nRUN {} x\n", "--foo \\\n".repeat(count));
    assert_eq!(parse(unknown.as_bytes()).diagnostics.len(), 1);
}

#[test]
fn many_elements_parse_fast() {
    let count = 100_000;
    let elements = "\"\\u0041\\n\", \\\n".repeat(count);
    let text = format!("FROM a\nCOPY [{elements} \"z\"]\n");
    let parsed = parse(text.as_bytes());
    let InstructionKind::Copy(copy) = &parsed.dockerfile.stages[0].instructions[0].kind else {
        panic!("not a COPY")
    };
    assert_eq!(copy.sources.len(), count);
    // Deeper than any stack.
    let nested = format!("FROM a\nCMD {}\n", "[ \\\n".repeat(count));
    assert_eq!(parse(nested.as_bytes()).diagnostics, []);
}

#[test]
fn a_million_lines_of_heredoc() {
    let body = "\t\tx\n".repeat(1_000_000);
    let parsed = parse(format!("FROM a\nCOPY <<-A /x\n{body}\tA\n").as_bytes());
    let InstructionKind::Copy(copy) = &parsed.dockerfile.stages[0].instructions[0].kind else {
        panic!("not a COPY")
    };
    let [Source::Heredoc(heredoc)] = copy.sources.as_slice() else {
        panic!("not a heredoc")
    };
    assert_eq!(heredoc.body.len(), 2_000_000);
    let unterminated = "RUN <<A\nx\n".repeat(500_000);
    let parsed = parse(format!("FROM a\n{unterminated}").as_bytes());
    assert_eq!(parsed.diagnostics.len(), 1);
}

#[test]
fn many_directives_parse_fast() {
    let parsed = parse("# syntax=a\n".repeat(500_000).as_bytes());
    assert_eq!(parsed.diagnostics.len(), MAX_ERRORS);
}

#[test]
fn many_wrong_instructions() {
    let parsed = parse(format!("FROM a\n{}", "WRONG x\n".repeat(500)).as_bytes());
    assert_eq!(parsed.diagnostics.len(), MAX_ERRORS);
}

#[test]
fn bytes_that_are_no_text_everywhere() {
    let text = [
        b"FROM a\nRUN x".as_slice(),
        &b" \xFF\0\xFE \\\n".repeat(300_000),
        b"\n",
    ]
    .concat();
    let parsed = parse(&text);
    assert_eq!(parsed.diagnostics.len(), 1);
    assert_eq!(parsed.diagnostics[0].span, Span::new(13, 14));
    let nul = parse(b"FROM a\nRUN a\0b\nENV a=\0\n");
    assert_eq!(nul.diagnostics, []);
}

proptest! {
    #[test]
    fn any_bytes_are_parsed(text in prop::collection::vec(any::<u8>(), 0..300)) {
        let parsed = parse(&text);
        for found in &parsed.diagnostics {
            let _ = crate::excerpt(&text, "f", &[found.span]);
        }
    }

    #[test]
    fn anything_like_a_dockerfile(
        text in r#"(# ?(escape|syntax|check)=.\n)?((FROM|RUN|COPY|ENV|ARG|ONBUILD|HEALTHCHECK|VOLUME|from|Xyz|#)( --[a-z]*=?[a-z"'\\]*)?[ a-z<\-=\\'"`\[\],$#{}:é]{0,20}\n\t?){0,8}"#,
    ) {
        let parsed = parse(text.as_bytes());
        for found in &parsed.diagnostics {
            prop_assert!(found.span.start <= found.span.end);
            prop_assert!(found.span.end as usize <= text.len());
            prop_assert!(text.is_char_boundary(found.span.start as usize));
        }
        let _ = crate::lint(&parsed.dockerfile, &crate::lint::CheckOptions::default());
    }

    #[test]
    fn any_word_expands_or_says_why(word in r#"[a-c$\{\}:?+\-#%/*'"\\` é]{0,24}"#) {
        for quoting in [crate::Quoting::Word, crate::Quoting::HeredocBody] {
            for escape in ['\\', '`'] {
                let known = |name: &str| (name == "a").then(|| "A B".to_owned());
                if let Err(error) = crate::expand(&word, escape, quoting, &known) {
                    prop_assert!(error.offset <= word.len());
                }
            }
        }
    }
}
