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
    assert_snapshot!(complaint(&kiln, "FROM scratch\nCPOY a /\nENV\n"), @"");
}

#[test]
fn missing_files_are_shown() {
    let kiln = need!(Kiln::for_builds());
    assert_snapshot!(complaint(&kiln, "FROM scratch\nENV a=b\nCOPY nofile /x\nENV c=d\n"), @"");
}

#[test]
fn a_failing_command_has_its_output_repeated() {
    let kiln = need!(Kiln::for_builds());
    let dockerfile = "FROM scratch\nCOPY busybox /bin/sh\nRUN echo out && \\\n  exit 3\n";
    assert_snapshot!(complaint(&kiln, dockerfile), @"");
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
    let findings = &ended.stderr[ended.stderr.find(" warnings found").unwrap() - 2..];
    assert_snapshot!(findings, @"");
}
