use super::*;
use crate::{Document, Sha256};

fn digest(name: &str) -> Sha256 {
    Sha256::of(name.as_bytes())
}

/// Writes an index entry; `platform` as `os/architecture[/variant]`, empty for none.
fn entry(name: &str, platform: &str, more: &str) -> String {
    let platform = match platform.split('/').collect::<Vec<_>>()[..] {
        [os, architecture] => {
            format!(r#","platform":{{"os":"{os}","architecture":"{architecture}"}}"#)
        }
        [os, architecture, variant] => format!(
            r#","platform":{{"os":"{os}","architecture":"{architecture}","variant":"{variant}"}}"#
        ),
        _ => String::new(),
    };
    format!(
        r#"{{"mediaType":"{}","digest":"{}","size":1{platform}{more}}}"#,
        media_type::OCI_MANIFEST,
        digest(name)
    )
}

fn index(entries: &[String]) -> Index {
    let text = format!(
        r#"{{"schemaVersion":2,"manifests":[{}]}}"#,
        entries.join(",")
    );
    match Document::parse(text.as_bytes(), None) {
        Ok(Document::Index(index)) => index,
        other => panic!("not an index: {other:?}"),
    }
}

/// OCI-004 and docs/spec/oci.md 3.1.
#[test]
fn the_nearest_platform_is_chosen_and_attestations_never_are() {
    let attestation = r#","annotations":{"vnd.docker.reference.type":"attestation-manifest"}"#;
    let index = index(&[
        entry("attestation", "linux/amd64", attestation),
        entry("unknown", "unknown/unknown", ""),
        entry("v5", "linux/arm/v5", ""),
        entry("v7", "linux/arm/v7", ""),
        entry("v7 again", "linux/arm/v7", ""),
        entry("arm64", "linux/arm64/v8", ""),
        entry("amd64", "linux/amd64", ""),
        entry(
            "windows",
            "windows/amd64",
            r#","annotations":null,"urls":null"#,
        ),
    ]);
    for (wanted, expected) in [
        ("linux/amd64", Some("amd64")),
        ("linux/amd64/v3", Some("amd64")),
        ("linux/arm64", Some("arm64")),
        ("linux/arm/v7", Some("v7")),
        ("linux/arm/v6", Some("v5")),
        ("windows/amd64", Some("windows")),
        ("linux/s390x", None),
        ("unknown/unknown", None),
    ] {
        let wanted = wanted.parse().unwrap();
        let chosen = index.candidates(&wanted).first().map(|entry| entry.digest);
        assert_eq!(chosen, expected.map(digest), "{wanted}");
    }
    let platforms: Vec<String> = index.platforms().map(Platform::to_string).collect();
    assert_eq!(
        platforms.join(" "),
        "linux/arm/v5 linux/arm/v7 linux/arm/v7 linux/arm64 linux/amd64 windows/amd64"
    );
}

#[test]
fn an_entry_without_platform_is_a_last_resort() {
    let index = index(&[entry("any", "", ""), entry("amd64", "linux/amd64", "")]);
    let chosen = |wanted: &str| index.candidates(&wanted.parse().unwrap())[0].digest;
    assert_eq!(chosen("linux/amd64"), digest("amd64"));
    assert_eq!(chosen("linux/arm64"), digest("any"));
}

#[test]
fn entries_that_cannot_be_verified_are_skipped() {
    let sha512 = format!(
        r#"{{"mediaType":"{}","digest":"sha512:{}","size":1}}"#,
        media_type::OCI_MANIFEST,
        "0".repeat(128)
    );
    let artifact = format!(
        r#"{{"mediaType":"application/vnd.something","digest":"{}","size":1}}"#,
        digest("x")
    );
    let index = index(&[sha512, artifact, entry("good", "linux/amd64", "")]);
    let wanted = Platform::new("linux", "amd64", "");
    assert_eq!(index.candidates(&wanted).len(), 1);
}
