use insta::assert_snapshot;

use crate::bad_dockerfiles::harness::{case, complaints};

#[test]
fn df_170_findings_as_errors() {
    let text = "# check=error=true\nFROM scratch as base\nMAINTAINER me\nCMD x\n";
    let replaced = "FROM scratch as base\nCOPY a /\n";
    let shown = complaints(&[
        case("by the directive", text),
        case("by the build argument", replaced)
            .with("--build-arg=BUILDKIT_DOCKERFILE_CHECK=error=true"),
        case("a build argument that is wrong", replaced)
            .with("--build-arg=BUILDKIT_DOCKERFILE_CHECK=eror=true"),
    ]);
    assert_snapshot!(shown);
}
