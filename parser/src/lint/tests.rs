use insta::assert_snapshot;

use super::*;
use crate::parse::parse;

/// Returns the findings as a build prints them.
fn show_with(options: &str, text: &str) -> String {
    let parsed = parse(text.as_bytes());
    assert_eq!(parsed.diagnostics, []);
    let options = CheckOptions::parse(options).unwrap();
    let lines = lint(&parsed.dockerfile, &options)
        .into_iter()
        .map(|finding| {
            let line = finding.lines.line(text.as_bytes());
            let at = &text[finding.span.start as usize..finding.span.end as usize];
            format!(
                "{}: {} (line {line}) at {at:?}",
                finding.code, finding.message
            )
        });
    lines.collect::<Vec<_>>().join("\n")
}

fn show(text: &str) -> String {
    show_with("", text)
}

#[test]
fn nothing_to_say() {
    assert_snapshot!(show("FROM scratch AS a\nENV a=b\nCMD [\"x\"]\n"), @"");
}

#[test]
fn odd_stage_names_are_found() {
    assert_snapshot!(show("FROM a AS Base\nFROM b AS scratch\nFROM c AS base\n"), @r#"
    StageNameCasing: Stage name 'Base' should be lowercase (line 1) at "Base"
    ReservedStageName: Stage name should not use the same name as reserved stage "scratch" (line 2) at "scratch"
    DuplicateStageName: Duplicate stage name "base", stage names should be unique (line 3) at "base"
    "#);
}

#[test]
fn from_and_as() {
    assert_snapshot!(show("FROM a as b\nFROM a AS c\nFrom a as d\n"), @r#"
    FromAsCasing: 'as' and 'FROM' keywords' casing do not match (line 1) at "as"
    ConsistentInstructionCasing: Command 'From' should match the case of the command majority (uppercase) (line 3) at "From"
    "#);
    assert_snapshot!(show("from a AS b\n"), @r#"FromAsCasing: 'AS' and 'from' keywords' casing do not match (line 1) at "AS""#);
}

#[test]
fn majority_of_cases() {
    assert_snapshot!(show("from a\nrun b\nRUN c\n"), @r#"ConsistentInstructionCasing: Command 'RUN' should match the case of the command majority (lowercase) (line 3) at "RUN""#);
    assert_snapshot!(show("FROM a\nrun b\n"), @r#"ConsistentInstructionCasing: Command 'run' should match the case of the command majority (uppercase) (line 2) at "run""#);
}

#[test]
fn df_010_empty_continuation() {
    assert_snapshot!(show("FROM a\nRUN b \\\n\n  c\n"), @r#"NoEmptyContinuation: Empty continuation line (line 4) at "  c""#);
}

#[test]
fn repeated_commands_are_found() {
    assert_snapshot!(show("FROM a AS x\nCMD b\nCMD [\"c\"]\nHEALTHCHECK NONE\nHEALTHCHECK CMD d\nFROM x\nENTRYPOINT e\n"), @r#"
    MultipleInstructionsDisallowed: Multiple CMD instructions should not be used in the same stage because only the last one will be used (line 2) at "CMD b"
    MultipleInstructionsDisallowed: Multiple HEALTHCHECK instructions should not be used in the same stage because only the last one will be used (line 4) at "HEALTHCHECK NONE"
    "#);
}

#[test]
fn old_forms_are_found() {
    assert_snapshot!(show("FROM a\nMAINTAINER me\nENV a b c\nLABEL a b\n"), @r#"
    MaintainerDeprecated: Maintainer instruction is deprecated in favor of using label (line 2) at "MAINTAINER me"
    LegacyKeyValueFormat: "ENV key=value" should be used instead of legacy "ENV key value" format (line 3) at "a b c"
    LegacyKeyValueFormat: "LABEL key=value" should be used instead of legacy "LABEL key value" format (line 4) at "a b"
    "#);
}

#[test]
fn secrets_in_variables_are_found() {
    assert_snapshot!(show("ARG API_TOKEN\nFROM a\nENV MYSQL_PASSWORD=x SECRET_FILE=y TOKENS=z\nENV key=1\n"), @r#"
    SecretsUsedInArgOrEnv: Do not use ARG or ENV instructions for sensitive data (ARG "API_TOKEN") (line 1) at "API_TOKEN"
    SecretsUsedInArgOrEnv: Do not use ARG or ENV instructions for sensitive data (ENV "MYSQL_PASSWORD") (line 3) at "MYSQL_PASSWORD"
    SecretsUsedInArgOrEnv: Do not use ARG or ENV instructions for sensitive data (ENV "key") (line 4) at "key"
    "#);
}

#[test]
fn needless_platforms_are_found() {
    assert_snapshot!(show("FROM --platform=$TARGETPLATFORM a\nFROM --platform=${TARGETPLATFORM:-linux/amd64} a\nFROM --platform=${TARGETPLATFORM:+linux/amd64} a\nFROM --platform=${X:-$TARGETPLATFORM} a\nFROM --platform=linux/amd64 b\nFROM --platform=linux/amd64 c AS build_amd64\nFROM --platform=$X d\nFROM --platform=linux/arm/v7 e AS v7\n"), @r#"
    RedundantTargetPlatform: Setting platform to predefined $TARGETPLATFORM in FROM is redundant as this is the default behavior (line 1) at "$TARGETPLATFORM"
    RedundantTargetPlatform: Setting platform to predefined ${TARGETPLATFORM:-linux/amd64} in FROM is redundant as this is the default behavior (line 2) at "${TARGETPLATFORM:-linux/amd64}"
    FromPlatformFlagConstDisallowed: FROM --platform flag should not use constant value "linux/amd64" (line 5) at "linux/amd64"
    FromPlatformFlagConstDisallowed: FROM --platform flag should not use constant value "linux/arm/v7" (line 8) at "linux/arm/v7"
    "#);
}

#[test]
fn malformed_descriptions_are_found() {
    let text =
        "# what\nARG a\n\n# b is fine\nARG b=1\n# so so\nFROM x AS c\n# unrelated\n\nFROM x AS d\n";
    assert_snapshot!(show_with("experimental=all", text), @r#"
    InvalidDefinitionDescription: Comment for ARG should follow the format: `# a <description>` (line 2) at "what"
    InvalidDefinitionDescription: Comment for FROM should follow the format: `# c <description>` (line 7) at "so so"
    "#);
    assert_snapshot!(show(text), @"");
}

#[test]
fn df_171_skipping() {
    let text = "FROM a AS B\n# check=skip=JSONArgsRecommended\nCMD b\n";
    assert_snapshot!(show(text), @r#"StageNameCasing: Stage name 'B' should be lowercase (line 1) at "B""#);
    assert_snapshot!(show_with("skip=StageNameCasing", text), @"");
}

#[test]
fn df_171_experimental_rules_are_asked_for_not_skipped() {
    let text = "# so so\nFROM x AS c\n";
    let shown = show_with("skip=all;experimental=InvalidDefinitionDescription", text);
    assert!(shown.starts_with("InvalidDefinitionDescription"), "{shown}");
}
