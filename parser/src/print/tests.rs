use proptest::prelude::*;

use super::*;
use crate::parse::parse;

#[path = "../../tests/parser/checks/essence.rs"]
mod essence;
use essence::essence;

fn check(text: &str) -> Result<(), TestCaseError> {
    let parsed = parse(text.as_bytes());
    prop_assert_eq!(&parsed.diagnostics, &[], "{}", text);
    let printed = to_source(&parsed.dockerfile);
    let again = parse(printed.as_bytes());
    prop_assert_eq!(&again.diagnostics, &[], "{}\n---\n{}", text, printed);
    prop_assert_eq!(
        essence(&again.dockerfile),
        essence(&parsed.dockerfile),
        "{}\n---\n{}",
        text,
        printed
    );
    prop_assert_eq!(to_source(&again.dockerfile), printed);
    Ok(())
}

#[test]
fn files_come_back() {
    check(
        r#"# syntax=docker/dockerfile:1
# escape=\
# check=skip=all

# about the base
ARG BASE=a B C="x y"
# base does things
from --platform=$P $BASE as Base
RUN --mount=type=cache,target=/a\ b --mount='"target=/x,y"' --network=none \
  # comment
  echo a  \

  b
RUN ["a", "b\"c"]
RUN
RUN -- --x
CMD ["x"]
ENTRYPOINT ['a']
COPY --from=x --chown=a:b --chmod=u+x --link --parents --exclude=*.a --exclude=b a b /c/
COPY ["a b", "[x", "c"]
COPY ["--x", "c"]
COPY -- --x c
ADD --checksum=sha256:0 --keep-git-dir --unpack=false --link=false http://x /y
ENV a="b c" d='e' f=\ g
ENV legacy  value here
ENV -- --a=b
LABEL "k v"=x
EXPOSE 80/tcp $PORT 90-92/udp
VOLUME /a /b
VOLUME ["/a b"]
USER a:b c
WORKDIR /a b/$c
STOPSIGNAL 9
SHELL ["/bin/bash", "-c"]
HEALTHCHECK NONE
HEALTHCHECK --interval=1h30m --retries=3 CMD curl x
HEALTHCHECK --timeout=5s --start-period=1s --start-interval=2s CMD ["a"]
ONBUILD RUN a
ONBUILD COPY <<X /y
body
X
MAINTAINER me <me@x>
RUN cat <<A <<-'B' > /x
 a
A
	b
	B
COPY <<-E 2<<"F" plain /d/
	tab
	E
 $x \n
F
FROM scratch
"#,
    )
    .unwrap();
    check("# escape=`\nFROM a\nRUN a `\n b \\\nCOPY --chown=a` b a b\nENV x=c:\\y` z\n").unwrap();
    check("FROM a\nENV \" \\ \\\n").unwrap(); // an escape token as last character
    check("FROM a\nADD <<A \\\u{c}\nA\nRUN \\\u{c}\nRUN x\n").unwrap();
    check("FROM a\nENV \\  [=\n").unwrap();
    check("FROM a\nCOPY <<'E\\' /x\nE\\").unwrap();
    check("FROM a\nONBUILD COPY <<'E\\' /x\nE\\").unwrap();
}

/// Joined, such a line is longer than any that is read.
#[test]
fn long_lines_are_continued() {
    let blanks = " ".repeat(30_000);
    let marks = "#".repeat(30_000);
    check(&format!(
        "FROM a\nRUN a{blanks}\\\n{blanks}b # {marks}\\\n  x{marks}\n"
    ))
    .unwrap();
    let word = "é\\\\x".repeat(10_000);
    check(&format!("FROM a\nENV a={word}\\\n{word}\\\n{word}\n")).unwrap();
    let marker = "<<A \\\n".repeat(20_000);
    let body = "b\nA\n".repeat(20_000);
    check(&format!("FROM a\nONBUILD COPY {marker} /x/\n{body}")).unwrap();
}

fn word() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z./$][a-z./$-]{0,7}",
        r#""[a-z $]{0,6}""#,
        "'[a-z $]{0,6}'",
        r"[a-z]\\ [a-z]",
        Just("${a:-b}".to_owned()),
        Just("é\\$".to_owned()),
    ]
}

fn line() -> impl Strategy<Value = String> {
    let words = prop::collection::vec(word(), 2..5)
        .prop_map(|words| words.join(" "))
        .boxed();
    let pairs = prop::collection::vec(("[a-z]{1,3}", word()), 1..4)
        .prop_map(|pairs| {
            let pairs: Vec<_> = pairs
                .iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect();
            pairs.join(" ")
        })
        .boxed();
    prop_oneof![
        words.clone().prop_map(|words| format!("RUN {words}")),
        words
            .clone()
            .prop_map(|words| format!("run a \\\n # c\n\n  {words}")),
        words.clone().prop_map(|words| format!("COPY -- {words}")),
        words
            .clone()
            .prop_map(|words| format!("ADD --chown='a b' -- {words}")),
        words
            .clone()
            .prop_map(|words| format!("WORKDIR -- {words}")),
        words.clone().prop_map(|words| format!("EXPOSE -- {words}")),
        words.clone().prop_map(|words| format!("ENV k {words}")),
        words.clone().prop_map(|words| format!("CMD {:?}", [words])),
        words.prop_map(|words| format!("RUN cat <<E\n{words}\n\nE")),
        pairs.clone().prop_map(|pairs| format!("ENV {pairs}")),
        pairs
            .clone()
            .prop_map(|pairs| format!("# a comment\nLABEL {pairs}")),
        pairs.prop_map(|pairs| format!("ARG x {pairs}")),
        "[a-z\\$'\" \n]{0,20}".prop_map(|body| format!("COPY <<-E x /y\n\t{body}\n\tE")),
        "[a-z=/,]{1,9}".prop_map(|value| format!("RUN --mount={value} x")),
    ]
}

proptest! {
    #[test]
    fn printed_trees_parse_to_the_same_tree(lines in prop::collection::vec(line(), 0..8)) {
        check(&format!("ARG a\nFROM b AS c\n{}\n", lines.join("\n")))?;
    }

    #[test]
    fn any_text_that_parses_comes_back(
        text in r#"(FROM a\n)((RUN|COPY|ENV|CMD|USER|ARG) [a-z<\-=\\'"\[\],$ #\n]{0,30}\n){0,3}"#,
    ) {
        if parse(text.as_bytes()).diagnostics.is_empty() {
            check(&text)?;
        }
    }
}
