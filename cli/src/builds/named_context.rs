//! `--build-context NAME=VALUE`: what a name in the Dockerfile stands for instead.

use std::path::{Path, PathBuf};

use kiln_engine::NamedContext;
use kiln_oci::{Sha256, TaggedRef};
use kiln_parser::{SourcePlace, remote_source};

use crate::failure::Failure;

/// Parses the flags in order; of a name given twice the last value counts.
pub(crate) fn parse_all(texts: &[String]) -> Result<Vec<(String, NamedContext)>, Failure> {
    let mut contexts: Vec<(String, NamedContext)> = Vec::new();
    for text in texts {
        let (name, context) = parse(text)?;
        contexts.retain(|(known, _)| *known != name);
        contexts.push((name, context));
    }
    Ok(contexts)
}

fn parse(text: &str) -> Result<(String, NamedContext), Failure> {
    let (name, value) = text.split_once('=').ok_or_else(|| {
        Failure::flag(format!("invalid context value: {text}, expected key=value"))
    })?;
    let parsed: TaggedRef = name
        .parse()
        .map_err(|error| Failure::flag(format!("invalid context name {name}: {error}")))?;
    let familiar = parsed.familiar();
    let short = familiar.strip_suffix(":latest").unwrap_or(&familiar);
    let context = parse_value(name, value)?;
    Ok((short.to_owned(), context))
}

fn parse_value(name: &str, value: &str) -> Result<NamedContext, Failure> {
    let invalid =
        |problem: String| Failure::flag(format!("invalid build context {name}: {problem}"));
    if let Some(image) = value.strip_prefix("docker-image://") {
        if image == "scratch" {
            return Ok(NamedContext::Scratch);
        }
        let image: TaggedRef = image
            .parse()
            .map_err(|error| invalid(format!("{image}: {error}")))?;
        return Ok(NamedContext::Image(image));
    }
    if let Some(layout) = value.strip_prefix("oci-layout://") {
        return parse_layout(layout).map_err(invalid);
    }
    if value.starts_with("target:") {
        return Err(invalid(format!(
            "{value} names the target of a bake file, which a single build does not have"
        )));
    }
    match remote_source(value, SourcePlace::BuildContext) {
        Some(Ok(_)) => Ok(NamedContext::Remote(value.to_owned())),
        Some(Err(error)) => Err(invalid(format!("{value}: {error}"))),
        None => directory(name, Path::new(value)),
    }
}

/// Parses `PATH[:tag][@digest]`.
fn parse_layout(text: &str) -> Result<NamedContext, String> {
    let (path, digest) = match text.split_once('@') {
        Some((path, digest)) => {
            let parsed: Sha256 = digest
                .parse()
                .map_err(|_| format!("{digest} is no digest: expected sha256:<hex>"))?;
            (path, Some(parsed))
        }
        None => (text, None),
    };
    // A colon before the last slash belongs to the path.
    let (path, tag) = match path.rsplit_once(':') {
        Some((path, tag)) if !tag.contains('/') => (path, Some(tag)),
        _ => (path, None),
    };
    match (path, tag) {
        ("", _) => Err("an oci-layout needs a directory".to_owned()),
        (_, Some("")) => Err(format!("oci-layout://{text} has an empty tag")),
        (path, tag) => Ok(NamedContext::Layout {
            directory: PathBuf::from(path),
            tag: tag.map(str::to_owned),
            digest,
        }),
    }
}

fn directory(name: &str, path: &Path) -> Result<NamedContext, Failure> {
    let failed = |problem: &str| {
        Failure::new(format!(
            "failed to get build context {name}: {}: {problem}",
            path.display()
        ))
    };
    match path.metadata() {
        Ok(metadata) if metadata.is_dir() => Ok(NamedContext::Directory(path.to_owned())),
        Ok(_) => Err(failed("not a directory")),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(failed("no such file or directory"))
        }
        Err(error) => Err(failed(&error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> Result<(String, NamedContext), String> {
        parse(text).map_err(|failure| failure.message)
    }

    #[test]
    fn names_are_normalised_like_those_of_images() {
        for (name, expected) in [
            ("base", "base"),
            ("base:latest", "base"),
            ("base:1", "base:1"),
            ("docker.io/library/alpine", "alpine"),
            ("ghcr.io/a/b:latest", "ghcr.io/a/b"),
        ] {
            let (name, _) = one(&format!("{name}=docker-image://scratch")).unwrap();
            assert_eq!(name, expected);
        }
        assert_eq!(
            one("base"),
            Err("invalid context value: base, expected key=value".to_owned())
        );
        assert!(
            one("Base=/")
                .unwrap_err()
                .starts_with("invalid context name Base: ")
        );
    }

    #[test]
    fn values_are_images_layouts_remotes_and_directories() {
        let value = |text: &str| one(&format!("x={text}")).map(|(_, context)| context);
        let digest = Sha256::of(b"m");
        let layout = |directory: &str, tag: Option<&str>, digest| NamedContext::Layout {
            directory: directory.into(),
            tag: tag.map(str::to_owned),
            digest,
        };
        for (text, expected) in [
            (
                "docker-image://alpine".to_owned(),
                NamedContext::Image("alpine:latest".parse().unwrap()),
            ),
            ("docker-image://scratch".to_owned(), NamedContext::Scratch),
            ("oci-layout://./l".to_owned(), layout("./l", None, None)),
            (
                "oci-layout:///l:v1".to_owned(),
                layout("/l", Some("v1"), None),
            ),
            (
                format!("oci-layout:///a:b/l:v1@{digest}"),
                layout("/a:b/l", Some("v1"), Some(digest)),
            ),
            (
                "https://h/x.tar".to_owned(),
                NamedContext::Remote("https://h/x.tar".to_owned()),
            ),
            (
                "git@h:x.git#main".to_owned(),
                NamedContext::Remote("git@h:x.git#main".to_owned()),
            ),
            ("/".to_owned(), NamedContext::Directory("/".into())),
        ] {
            assert_eq!(value(&text), Ok(expected), "{text}");
        }
        for (text, problem) in [
            ("docker-image://A", "must be lowercase"),
            ("oci-layout://l@sha256:1", "sha256:1 is no digest"),
            ("oci-layout://:v1", "an oci-layout needs a directory"),
            ("target:other", "a single build does not have"),
            (
                "/nowhere/at/all",
                "failed to get build context x: /nowhere/at/all: no such file or directory",
            ),
            ("/dev/null", "not a directory"),
        ] {
            let message = value(text).unwrap_err();
            assert!(message.contains(problem), "{message}");
        }
    }

    #[test]
    fn the_last_value_of_a_name_counts() {
        let texts = ["a=/", "b=/", "a:latest=docker-image://scratch"].map(str::to_owned);
        assert_eq!(
            parse_all(&texts),
            Ok(vec![
                ("b".to_owned(), NamedContext::Directory("/".into())),
                ("a".to_owned(), NamedContext::Scratch),
            ])
        );
    }
}
