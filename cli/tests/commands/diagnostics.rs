//! What is wrong with a Dockerfile, and where (dockerfile.md section 13).

use insta::assert_snapshot;
use kiln_testbed::need;

use crate::harness::Kiln;

/// Builds, which must fail, and returns standard error from the first block that is not progress.
fn complaint(kiln: &Kiln, dockerfile: &str) -> String {
    kiln.dockerfile(dockerfile);
    let ended = kiln.run(&["build", "--progress=quiet", "ctx"]);
    assert_eq!(ended.code, 1, "{ended:#?}");
    assert_eq!(ended.stdout, "");
    // Editors strip blanks at the end of lines, which the excerpt has for empty ones.
    kiln.filter(&ended.stderr).replace(" \n", "$\n")
}

#[test]
fn unknown_instructions_are_shown() {
    let kiln = Kiln::new();
    assert_snapshot!(complaint(&kiln, "FROM scratch\nCPOY a /\nENV\n"), @r"
    Dockerfile:2
    --------------------
       1 |     FROM scratch
       2 | >>> CPOY a /
       3 |     ENV
       4 |    $
    --------------------
    dockerfile parse error on line 2: unknown instruction: CPOY (did you mean COPY?)

    Dockerfile:3
    --------------------
       1 |     FROM scratch
       2 |     CPOY a /
       3 | >>> ENV
       4 |    $
    --------------------
    dockerfile parse error on line 3: ENV requires at least one argument
    ERROR: failed to build: dockerfile parse error on line 2: unknown instruction: CPOY (did you mean COPY?) (and 1 more error)
    ");
}

#[test]
fn missing_files_are_shown() {
    let kiln = need!(Kiln::for_builds());
    assert_snapshot!(complaint(&kiln, "FROM scratch\nENV a=b\nCOPY nofile /x\nENV c=d\n"), @r#"
    Dockerfile:3
    --------------------
       1 |     FROM scratch
       2 |     ENV a=b
       3 | >>> COPY nofile /x
       4 |     ENV c=d
       5 |    $
    --------------------
    ERROR: failed to build: failed to solve: failed to compute cache key: failed to calculate checksum: "/nofile": not found
    "#);
}

#[test]
fn a_failing_command_has_its_output_repeated() {
    let kiln = need!(Kiln::for_builds());
    let dockerfile = "FROM scratch\nCOPY busybox /bin/sh\nRUN echo out && \\\n  exit 3\n";
    assert_snapshot!(complaint(&kiln, dockerfile), @r#"
    ------
     > [2/2] RUN echo out &&   exit 3:
    [TIME] out
    ------
    Dockerfile:3
    --------------------
       2 |     COPY busybox /bin/sh
       3 | >>> RUN echo out && \
       4 | >>>   exit 3
       5 |    $
    --------------------
    ERROR: failed to build: failed to solve: process "/bin/sh -c echo out &&   exit 3" did not complete successfully: exit code: 3
    "#);
    // Where it has passed by already, only its end is repeated.
    kiln.dockerfile(
        "FROM scratch\nCOPY busybox /bin/sh\n\
         RUN i=0; while [ $i -lt 20 ]; do i=$((i+1)); echo line $i; done; exit 1\n",
    );
    let stderr = kiln.run(&["build", "--progress=plain", "ctx"]).stderr;
    assert_eq!(stderr.matches("line 10\n").count(), 1, "{stderr}");
    assert_eq!(stderr.matches("line 11\n").count(), 2, "{stderr}");
}

#[test]
fn findings_are_listed_after_success() {
    let kiln = need!(Kiln::for_builds());
    kiln.dockerfile("FROM scratch as base\nCOPY busybox /b\nCMD echo\n");
    let ended = kiln.run(&["build", "ctx"]);
    assert_eq!(ended.code, 0, "{ended:#?}");
    let findings = &ended.stderr[ended.stderr.find(" 2 warnings found").unwrap()..];
    assert_eq!(
        findings,
        " 2 warnings found:
 \
         - FromAsCasing: 'as' and 'FROM' keywords' casing do not match (line 1)
 \
         - JSONArgsRecommended: JSON arguments recommended for CMD to prevent unintended behavior \
         related to OS signals (line 3)
"
    );
}
