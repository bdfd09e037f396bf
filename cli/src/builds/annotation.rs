//! `--annotation` and the attributes of `--output` that mean the same.

use kiln_engine::{Annotation, AnnotationPlace};
use kiln_oci::Platform;

/// Parses `[TYPE[,TYPE]…[[PLATFORM]]:]KEY=VALUE`; one annotation for each type.
pub(crate) fn parse(text: &str) -> Result<Vec<Annotation>, String> {
    let (left, value) = text
        .split_once('=')
        .ok_or_else(|| format!("invalid annotation {text:?}, expected key=value"))?;
    let (types, key) = left.split_once(':').unwrap_or(("", left));
    if key.is_empty() {
        return Err(format!("invalid annotation {text:?}: the key is empty"));
    }
    types
        .split(',')
        .map(|kind| annotation(kind, key, value))
        .collect()
}

/// Parses an attribute of an output, `annotation[-TYPE][[PLATFORM]].KEY`; none if it is another.
pub(crate) fn parse_attribute(name: &str, value: &str) -> Option<Result<Annotation, String>> {
    // Names of attributes are as good in capitals; keys of annotations are what they are.
    let (word, rest) = name.split_at_checked("annotation".len())?;
    let (target, key) = split_key(rest)?;
    let is_one = word.eq_ignore_ascii_case("annotation")
        && (target.is_empty() || target.starts_with(['-', '[']));
    let target = target.strip_prefix('-').unwrap_or(target);
    is_one.then(|| match key {
        "" => Err(format!("invalid annotation {name:?}: the key is empty")),
        key => annotation(&target.to_lowercase(), key, value),
    })
}

/// Splits at the first dot that is not inside of brackets.
fn split_key(text: &str) -> Option<(&str, &str)> {
    let behind = text.find(']').unwrap_or(0);
    let dot = behind + text[behind..].find('.')?;
    Some((&text[..dot], &text[dot + 1..]))
}

/// Parses what an annotation is attached to, `[TYPE][[PLATFORM]]`.
fn annotation(target: &str, key: &str, value: &str) -> Result<Annotation, String> {
    let (kind, platform) = match target.split_once('[') {
        Some((kind, rest)) => {
            let text = rest.strip_suffix(']').ok_or_else(|| {
                format!("invalid annotation type, expected type(s) but got {target:?}")
            })?;
            let platform: Platform = text
                .parse()
                .map_err(|error| format!("annotation {key}: {error}"))?;
            (kind, Some(platform))
        }
        None => (target, None),
    };
    let on = match kind {
        "" | "manifest" => AnnotationPlace::Manifest,
        "manifest-descriptor" => AnnotationPlace::ManifestDescriptor,
        "index" => AnnotationPlace::Index,
        "index-descriptor" => AnnotationPlace::IndexDescriptor,
        other => return Err(format!("unknown annotation type {other:?}")),
    };
    let of_index = matches!(
        on,
        AnnotationPlace::Index | AnnotationPlace::IndexDescriptor
    );
    match platform {
        Some(platform) if of_index => Err(format!(
            "annotation type {kind:?} takes no platform such as {platform}: an index is for all"
        )),
        platform => Ok(Annotation {
            on,
            platform,
            key: key.to_owned(),
            value: value.to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(on: AnnotationPlace, platform: Option<&str>, key: &str) -> Annotation {
        Annotation {
            on,
            platform: platform.map(|text| text.parse().unwrap()),
            key: key.to_owned(),
            value: "v".to_owned(),
        }
    }

    #[test]
    fn flags_have_types_and_platforms() {
        use AnnotationPlace::{Index, IndexDescriptor, Manifest, ManifestDescriptor};
        for (text, expected) in [
            ("k=v", vec![made(Manifest, None, "k")]),
            ("manifest:k=v", vec![made(Manifest, None, "k")]),
            (
                "index-descriptor:a.B=v",
                vec![made(IndexDescriptor, None, "a.B")],
            ),
            (
                "index,manifest-descriptor[linux/arm64]:k=v",
                vec![
                    made(Index, None, "k"),
                    made(ManifestDescriptor, Some("linux/arm64"), "k"),
                ],
            ),
            (
                "[linux/amd64]:k=v",
                vec![made(Manifest, Some("linux/amd64"), "k")],
            ),
        ] {
            assert_eq!(parse(text), Ok(expected), "{text}");
        }
        for (text, message) in [
            ("k", "invalid annotation \"k\", expected key=value"),
            ("=v", "invalid annotation \"=v\": the key is empty"),
            ("layer:k=v", "unknown annotation type \"layer\""),
            (
                "manifest[linux/amd64:k=v",
                "invalid annotation type, expected type(s) but got \"manifest[linux/amd64\"",
            ),
            (
                "index[linux/amd64]:k=v",
                "annotation type \"index\" takes no platform such as linux/amd64: an index is for all",
            ),
        ] {
            assert_eq!(parse(text), Err(message.to_owned()), "{text}");
        }
    }

    #[test]
    fn attributes_mean_the_same() {
        use AnnotationPlace::{Index, Manifest, ManifestDescriptor};
        for (name, expected) in [
            ("annotation.a.B", made(Manifest, None, "a.B")),
            ("Annotation-Index.k", made(Index, None, "k")),
            (
                "annotation[linux/arm/v7].a.b",
                made(Manifest, Some("linux/arm/v7"), "a.b"),
            ),
            (
                "annotation-manifest-descriptor[linux/arm64].k",
                made(ManifestDescriptor, Some("linux/arm64"), "k"),
            ),
        ] {
            assert_eq!(parse_attribute(name, "v"), Some(Ok(expected)), "{name}");
        }
        for name in ["annotations.k", "annotation", "name", "ann"] {
            assert_eq!(parse_attribute(name, "v"), None, "{name}");
        }
        assert_eq!(
            parse_attribute("annotation-layer.k", "v"),
            Some(Err("unknown annotation type \"layer\"".to_owned()))
        );
    }
}
