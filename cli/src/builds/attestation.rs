//! `--attest`, `--provenance` and `--sbom`: statements about an image.
//!
//! Nothing is attested, so values that turn attestations off are taken; to ask for one is refused.

use kiln_docker::csv;
use kiln_parser::parse_bool;

use super::arguments::AcceptedFlags;
use crate::failure::Failure;

/// Checks that no attestation is asked for. Of each type, the last word counts.
pub(super) fn check(flags: &AcceptedFlags) -> Result<(), Failure> {
    let mut asked: Vec<(String, String)> = Vec::new();
    let mut note = |kind: &str, is_on: bool, flag: String| {
        asked.retain(|(known, _)| known != kind);
        if is_on {
            asked.push((kind.to_owned(), flag));
        }
    };
    for text in &flags.attest {
        let (kind, is_on) = attestation(text).map_err(Failure::flag)?;
        note(&kind, is_on, format!("--attest={text}"));
    }
    for (kind, value) in [("provenance", &flags.provenance), ("sbom", &flags.sbom)] {
        if let Some(value) = value {
            let is_on = match parse_bool(value) {
                Some(is_on) => is_on,
                None => is_enabled(&fields(value).map_err(Failure::flag)?),
            };
            note(kind, is_on, format!("--{kind}={value}"));
        }
    }
    match asked.first() {
        None => Ok(()),
        Some((_, flag)) => Err(Failure::flag(format!("{flag} is not supported yet"))),
    }
}

/// Parses `type=TYPE[,disabled=BOOL][,KEY=VALUE]…`: the type, and whether it is wanted.
fn attestation(text: &str) -> Result<(String, bool), String> {
    let fields = fields(text)?;
    let kind = fields.iter().find(|(key, _)| key == "type");
    let kind = kind.ok_or_else(|| format!("attestation type not specified in {text:?}"))?;
    match kind.1.as_str() {
        "provenance" | "sbom" => Ok((kind.1.clone(), is_enabled(&fields))),
        other => Err(format!("unsupported attestation type {other:?}")),
    }
}

fn fields(text: &str) -> Result<Vec<(String, String)>, String> {
    let pairs = csv::fields(text)
        .map_err(|error| error.to_string())?
        .into_iter()
        .map(|field| {
            let (key, value) = field
                .split_once('=')
                .ok_or_else(|| format!("invalid field '{field}' must be a key=value pair"))?;
            if key.eq_ignore_ascii_case("disabled") && parse_bool(value).is_none() {
                return Err(format!("invalid value {value:?} of disabled"));
            }
            Ok((key.to_lowercase(), value.to_owned()))
        });
    pairs.collect()
}

fn is_enabled(fields: &[(String, String)]) -> bool {
    let disabled = fields.iter().find(|(key, _)| key == "disabled");
    disabled.and_then(|(_, value)| parse_bool(value)) != Some(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(attest: &[&str], provenance: Option<&str>) -> Result<(), String> {
        let flags = AcceptedFlags {
            attest: attest.iter().map(|&text| text.to_owned()).collect(),
            provenance: provenance.map(str::to_owned),
            ..AcceptedFlags::default()
        };
        check(&flags).map_err(|failure| failure.message)
    }

    #[test]
    fn values_that_turn_attestations_off_are_accepted() {
        for (attest, provenance) in [
            (&["type=provenance,disabled=true"][..], None),
            (
                &["type=sbom,disabled=1", "type=provenance,disabled=true"],
                None,
            ),
            (
                &["type=provenance,mode=max", "type=provenance,disabled=true"],
                None,
            ),
            (&["type=provenance"], Some("false")),
            (&[], Some("disabled=true")),
            (&[], None),
        ] {
            assert_eq!(checked(attest, provenance), Ok(()), "{attest:?}");
        }
    }

    #[test]
    fn values_that_turn_sbom_off_are_accepted() {
        let sbom = |text: &str| {
            let flags = AcceptedFlags {
                sbom: Some(text.to_owned()),
                ..AcceptedFlags::default()
            };
            check(&flags).map_err(|failure| failure.message)
        };
        assert_eq!(sbom("false"), Ok(()));
        assert_eq!(sbom("disabled=true"), Ok(()));
        let refused = "--sbom=true is not supported yet".to_owned();
        assert_eq!(sbom("true"), Err(refused));
    }

    #[test]
    fn attestations_asked_for_are_refused_by_name() {
        for (attest, provenance, message) in [
            (
                &["type=sbom"][..],
                None,
                "--attest=type=sbom is not supported yet",
            ),
            (
                &["type=provenance,disabled=false"],
                None,
                "--attest=type=provenance,disabled=false is not supported yet",
            ),
            (
                &[],
                Some("mode=max"),
                "--provenance=mode=max is not supported yet",
            ),
            (&[], Some("true"), "--provenance=true is not supported yet"),
            (&["type=x"], None, "unsupported attestation type \"x\""),
            (
                &["disabled=true"],
                None,
                "attestation type not specified in \"disabled=true\"",
            ),
            (
                &["type=sbom,disabled=x"],
                None,
                "invalid value \"x\" of disabled",
            ),
        ] {
            assert_eq!(checked(attest, provenance), Err(message.to_owned()));
        }
    }
}
