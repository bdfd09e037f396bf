//! Statements of docs/spec/dockerfile.md 15, as far as the parser alone decides them and no
//! unit test says so already. Each test goes through what the crate offers to others.

use kiln_parser::lint::{CheckOptions, Rule};
use kiln_parser::mount::{self, MountKind, MountSpec};
use kiln_parser::{
    CommandLine, Healthcheck, Heredoc, Instruction, InstructionKind, PathPatterns, Program,
    Quoting, RemoteSource, Source, SourcePattern, SourcePlace, chmod, expand, expose, lint, parse,
    parse_instruction, remote_source, signal,
};

/// Parses instructions below a `FROM`.
#[track_caller]
fn instructions(text: &str) -> Vec<Instruction> {
    let parsed = parse(format!("FROM scratch\n{text}").as_bytes());
    assert_eq!(parsed.diagnostics, []);
    let mut stages = parsed.dockerfile.stages;
    stages.remove(0).instructions
}

#[track_caller]
fn kind(text: &str) -> InstructionKind {
    let mut found = instructions(text);
    assert_eq!(found.len(), 1);
    found.remove(0).kind
}

/// Returns the one error of an instruction that stands on line 2.
#[track_caller]
fn error(text: &str) -> String {
    let parsed = parse(format!("FROM scratch\n{text}").as_bytes());
    let [found] = parsed.diagnostics.as_slice() else {
        panic!("{:?}", parsed.diagnostics)
    };
    found.full_message()
}

/// Returns the error of a value that no instruction takes.
#[track_caller]
fn expansion_error(word: &str) -> String {
    let variables = |name: &str| (name == "B").then(String::new);
    expand(word, '\\', Quoting::Word, &variables)
        .unwrap_err()
        .message
}

fn heredocs(kind: InstructionKind) -> Vec<Heredoc> {
    let sources = match kind {
        InstructionKind::Copy(copy) => copy.sources,
        InstructionKind::Add(add) => add.sources,
        InstructionKind::Run(run) => return run.heredocs,
        other => panic!("no heredocs in {other:?}"),
    };
    sources
        .into_iter()
        .filter_map(|source| match source {
            Source::Heredoc(heredoc) => Some(heredoc),
            Source::Path(_) => None,
        })
        .collect()
}

fn program(text: &str) -> Program {
    match kind(text) {
        InstructionKind::Run(run) => run.program(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn df_004_df_005_nothing_to_build() {
    let message = |text: &str| parse(text.as_bytes()).diagnostics[0].full_message();
    assert_eq!(message("# a\n \n"), "file with no instructions");
    assert_eq!(
        message("RUN a\nFROM b\n"),
        "no build stage in current context"
    );
}

#[test]
fn df_025_repeated_flag() {
    let expected = "dockerfile parse error on line 2: duplicate flag specified: --chown";
    assert_eq!(error("COPY --chown=a --chown=a b c"), expected);
}

#[test]
fn df_028_legacy_values_keep_their_blanks() {
    let InstructionKind::Env(pairs) = kind("ENV a b  c") else {
        panic!("not an ENV")
    };
    assert!(pairs.legacy);
    assert_eq!(pairs.pairs[0].1.raw, "b  c");
}

#[test]
fn df_034_only_tabs_are_stripped() {
    let found = heredocs(kind("COPY <<-E /f\n\t\ta\n \tb\n\t c\n\t\tE\n"));
    assert_eq!(found[0].body, "a\n \tb\n c\n");
    // A blank in front of the terminator makes it a line like any other.
    assert_eq!(error("COPY <<-E /f\n E\n"), "unterminated heredoc");
    assert_eq!(error("COPY <<E /f\n\tE\n"), "unterminated heredoc");
}

#[test]
fn df_035_files_are_named_by_their_delimiters() {
    let found = heredocs(kind("COPY <<a.txt <<\"b\" /d/\n1\na.txt\n2\nb\n"));
    let files: Vec<_> = found
        .iter()
        .map(|file| (&*file.name, &*file.body))
        .collect();
    assert_eq!(files, [("a.txt", "1\n"), ("b", "2\n")]);
}

#[test]
fn df_037_df_038_a_lone_heredoc_is_the_script() {
    let script = Program::Shell("x=1\nfalse\necho $x\n".to_owned());
    assert_eq!(program("RUN <<EOF\nx=1\nfalse\necho $x\nEOF\n"), script);
    assert_eq!(program("RUN <<'EOF'\nx=1\nfalse\necho $x\nEOF\n"), script);
}

#[test]
fn df_039_a_script_that_names_its_interpreter_is_a_file() {
    let Program::File { name, body } = program("RUN <<EOF\n#!/bin/x\n$a\nEOF\n") else {
        panic!("not a file")
    };
    assert_eq!((&*name, &*body), ("EOF", "#!/bin/x\n$a\n"));
}

#[test]
fn df_040_a_shell_gets_heredocs_as_they_stand() {
    let text = "cat <<EOF > /x\n$a \\$b\nEOF";
    let found = program(&format!("RUN {text}\n"));
    assert_eq!(found, Program::Shell(text.to_owned()));
}

#[test]
fn df_044_a_shift_is_no_heredoc() {
    let found = program("RUN echo $((1<<2))\n");
    assert_eq!(found, Program::Shell("echo $((1<<2))".to_owned()));
}

#[test]
fn df_042_df_043_heredocs_in_wrong_places() {
    assert_eq!(error("RUN <<EOF\na\n"), "unterminated heredoc");
    assert_eq!(
        error("COPY a <<EOF\nEOF\n"),
        "dockerfile parse error on line 2: COPY cannot accept a heredoc as a destination"
    );
}

#[test]
fn df_049_df_058_substitutions_that_fail() {
    let message = |word: &str, problem: &str| format!("failed to process \"{word}\": {problem}");
    for (word, problem) in [
        ("${v:?m}", "v: m"),
        ("${B:?}", "B: is not allowed to be empty"),
        ("${v?}", "v: is not allowed to be unset"),
        ("${}", "syntax error: bad substitution"),
        ("${:x}", "syntax error: bad substitution"),
        ("${B!x}", "unsupported modifier (!) in substitution"),
        ("${B:#p}", "unsupported modifier (:#) in substitution"),
        ("${B", "syntax error: missing '}'"),
    ] {
        assert_eq!(expansion_error(word), message(word, problem));
    }
}

#[test]
fn df_059_commands_are_not_expanded() {
    let InstructionKind::Cmd(CommandLine::Shell(text)) = kind("CMD echo $a ${b:-'c'}") else {
        panic!("not a command for the shell")
    };
    assert_eq!(text.raw, "echo $a ${b:-'c'}");
    let InstructionKind::Entrypoint(CommandLine::Exec(arguments)) = kind("ENTRYPOINT [\"$a\"]")
    else {
        panic!("not a list of arguments")
    };
    assert_eq!(arguments, ["$a"]);
}

#[test]
fn df_060_from_takes_no_variables() {
    assert_eq!(
        error("COPY --from=$x a b"),
        "dockerfile parse error on line 2: variable expansion is not supported for --from, \
         define a new stage with FROM using ARG from global scope as a workaround"
    );
    assert_eq!(
        error("RUN --mount=from=$x a"),
        "dockerfile parse error on line 2: 'from' doesn't support variable expansion, \
         define alias stage instead"
    );
}

#[test]
fn df_062_keys_of_labels_are_words_to_expand() {
    let InstructionKind::Label(pairs) = kind("LABEL \"$a\"=$b") else {
        panic!("not a LABEL")
    };
    let (key, value) = &pairs.pairs[0];
    let variables = |name: &str| Some(format!("<{name}>"));
    let expanded = |word: &str| expand(word, '\\', Quoting::Word, &variables).unwrap().value;
    assert_eq!(
        (&*expanded(&key.raw), &*expanded(&value.raw)),
        ("<a>", "<b>")
    );
}

#[test]
fn df_075_several_arguments_in_one_line() {
    let InstructionKind::Arg(arg) = kind("ARG a=1 b=$a c") else {
        panic!("not an ARG")
    };
    let found: Vec<_> = arg
        .declarations
        .iter()
        .map(|(name, default)| (&*name.raw, default.as_ref().map(|text| &*text.raw)))
        .collect();
    assert_eq!(found, [("a", Some("1")), ("b", Some("$a")), ("c", None)]);
}

#[test]
fn df_082_a_shell_is_a_list() {
    let prefix = "dockerfile parse error on line 2: SHELL requires";
    assert_eq!(
        error("SHELL sh -c"),
        format!("{prefix} the arguments to be in JSON form")
    );
    assert_eq!(error("SHELL []"), format!("{prefix} at least one argument"));
}

#[test]
fn df_087_malformed_ports_are_refused() {
    let message = |word: &str| expose::parse_ports(word).unwrap_err().to_string();
    assert_eq!(
        message("80/foo"),
        "invalid port: \"80/foo\": invalid proto: foo"
    );
    assert_eq!(message("70000"), "invalid containerPort: 70000");
    assert_eq!(message("90-80"), "invalid containerPort: 90-80");
    assert_eq!(message("x:80"), "invalid hostPort: x");
    assert_eq!(message("x:80:80"), "invalid IP address: x");
}

#[test]
fn df_093_unknown_signals_are_refused() {
    assert_eq!(
        signal::parse("FOO").unwrap_err().to_string(),
        "invalid signal: FOO"
    );
}

#[test]
fn df_094_forms_of_health_checks() {
    let InstructionKind::Healthcheck(Healthcheck::Command {
        command, interval, ..
    }) = kind("HEALTHCHECK --interval=1m30s CMD curl x")
    else {
        panic!("not a command")
    };
    assert!(matches!(command, CommandLine::Shell(text) if text.raw == "curl x"));
    assert_eq!(interval, 90_000_000_000);
    assert_eq!(
        kind("HEALTHCHECK NONE"),
        InstructionKind::Healthcheck(Healthcheck::None)
    );
}

#[test]
fn df_095_checks_too_often() {
    assert_eq!(
        error("HEALTHCHECK --interval=1us CMD a"),
        "dockerfile parse error on line 2: Interval \"interval\" cannot be less than 1ms"
    );
}

#[test]
fn df_096_triggers_are_kept_as_text() {
    let InstructionKind::Onbuild(onbuild) = kind("ONBUILD  COPY <<A  /x\n$y\nA\n") else {
        panic!("not an ONBUILD")
    };
    assert_eq!(onbuild.trigger, "COPY <<A  /x\n$y\nA");
    // DF-097: and are parsed when they fire.
    let fired = parse_instruction(&onbuild.trigger, '\\').unwrap();
    assert_eq!(heredocs(fired.kind)[0].body, "$y\n");
}

#[test]
fn df_099_the_maintainer_is_the_whole_rest() {
    let InstructionKind::Maintainer(author) = kind("MAINTAINER Jane Doe <j@d>") else {
        panic!("not a MAINTAINER")
    };
    assert_eq!(author.raw, "Jane Doe <j@d>");
}

#[test]
fn df_109_a_required_secret_says_so() {
    let required = |text: &str| {
        let spec = MountSpec::from_fields(&mount::split(text).unwrap()).unwrap();
        match spec.kind {
            MountKind::Secret { required, .. } => required,
            other => panic!("{other:?}"),
        }
    };
    assert!(!required("type=secret,id=a"));
    assert!(required("type=secret,id=a,required"));
    assert!(required("type=secret,id=a,required=true"));
}

#[test]
fn df_112_unknown_values_are_refused() {
    assert_eq!(
        error("RUN --network=foo a"),
        "dockerfile parse error on line 2: invalid network mode \"foo\""
    );
    assert_eq!(
        error("RUN --security=foo a"),
        "dockerfile parse error on line 2: security \"foo\" is not valid"
    );
    let message = |text: &str| {
        let fields = mount::split(text).unwrap();
        MountSpec::from_fields(&fields).unwrap_err().to_string()
    };
    assert_eq!(message("type=foo"), "unsupported mount type \"foo\"");
    assert_eq!(
        message("type=cache,sharing=foo"),
        "unsupported sharing value \"foo\""
    );
}

#[test]
fn df_119_df_137_wildcards_stay_in_one_component() {
    let plain = SourcePattern::parse("**/x").unwrap();
    assert_eq!((plain.base(), plain.depth()), ("", 2));
    assert!(plain.matches_at(0, "a") && plain.matches_at(1, "x"));
    assert!(!plain.matches_at(1, "b") && !plain.matches_at(2, "x"));
}

#[test]
fn df_133_modes_that_are_none() {
    for mode in ["999", "10000"] {
        assert_eq!(
            chmod::parse(mode).unwrap_err().to_string(),
            format!(
                "invalid chmod parameter: '{mode}'. it should be octal string and between 0 and \
                 07777"
            )
        );
    }
    assert_eq!(
        chmod::parse("u!").unwrap_err().to_string(),
        "invalid syntax"
    );
}

#[test]
fn df_140_exclusions_come_back() {
    let patterns = PathPatterns::new(["**/*.txt", "!**/keep.txt"]).unwrap();
    let root = patterns.state_for_root();
    let (_, a) = patterns.child(&root, "a");
    assert!(patterns.matches(&a, "b.txt"));
    assert!(!patterns.matches(&a, "keep.txt"));
}

#[test]
fn df_149_copy_does_not_fetch() {
    let source = |text: &str| {
        remote_source(text, SourcePlace::Instruction)
            .unwrap()
            .unwrap()
    };
    assert!(matches!(source("https://h/a.tgz"), RemoteSource::Http(_)));
    assert!(matches!(source("https://h/a.git#v1"), RemoteSource::Git(_)));
    assert!(matches!(source("git@h:a"), RemoteSource::Git(_)));
    assert_eq!(remote_source("a.git", SourcePlace::Instruction), None);
}

#[test]
fn df_170_findings_may_be_errors() {
    assert!(CheckOptions::parse("error=true").unwrap().error);
    assert!(!CheckOptions::parse("skip=all").unwrap().error);
}

#[test]
fn df_171_a_comment_skips_for_its_instruction() {
    let text = "FROM a AS b\n# check=skip=LegacyKeyValueFormat\nENV a b\nENV c d\n";
    let parsed = parse(text.as_bytes());
    let warnings = |options: &str| {
        let options = CheckOptions::parse(options).unwrap();
        let found = lint(&parsed.dockerfile, &options);
        found.iter().map(|found| found.code).collect::<Vec<_>>()
    };
    let rule = Rule::from_name("LegacyKeyValueFormat").unwrap();
    assert_eq!(warnings(""), [format!("{rule:?}")]);
    assert_eq!(warnings("skip=all"), [""; 0]);
}
