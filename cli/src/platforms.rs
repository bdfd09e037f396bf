//! `--platform`, of every command.

use kiln_oci::Platform;

use crate::environment::Environment;
use crate::failure::Failure;

/// Parses lists of platforms, or takes the environment's default; none means this machine's. A
/// platform that is named twice, in any spelling, is meant once.
pub(crate) fn several(
    texts: &[String],
    environment: &Environment,
) -> Result<Vec<Platform>, Failure> {
    let mut platforms: Vec<Platform> = Vec::new();
    let texts = texts.iter().flat_map(|text| text.split(','));
    for text in texts.map(str::trim).filter(|text| !text.is_empty()) {
        let platform = text
            .parse()
            .map_err(|error| Failure::flag(format!("{error}")))?;
        if !platforms.contains(&platform) {
            platforms.push(platform);
        }
    }
    if platforms.is_empty() {
        environment.default_platforms()
    } else {
        Ok(platforms)
    }
}

/// Parses one platform, or takes the environment's default.
pub(crate) fn one(
    text: Option<&String>,
    environment: &Environment,
) -> Result<Option<Platform>, Failure> {
    let texts = text.map(std::slice::from_ref).unwrap_or_default();
    match several(texts, environment)?.as_slice() {
        [] => Ok(None),
        [one] => Ok(Some(one.clone())),
        [first, second, ..] => Err(Failure::flag(format!(
            "expected one platform, got {first} and {second}"
        ))),
    }
}

/// Parses one platform of a command that the environment's default does not concern.
pub(crate) fn of_flag(text: Option<&String>) -> Result<Option<Platform>, Failure> {
    text.map(|text| text.parse())
        .transpose()
        .map_err(|error| Failure::flag(format!("{error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn platforms_are_listed_once() {
        let environment =
            Environment::with(&[("DOCKER_DEFAULT_PLATFORM", "linux/s390x,linux/arm")]);
        let platforms = |texts: &[&str]| {
            let texts: Vec<String> = texts.iter().map(|&text| text.to_owned()).collect();
            let platforms = several(&texts, &environment).map_err(|failure| failure.message)?;
            Ok::<_, String>(
                platforms
                    .iter()
                    .map(Platform::to_string)
                    .collect::<Vec<_>>(),
            )
        };
        let are = |texts: &[&str]| Ok(texts.iter().map(|&text| text.to_owned()).collect());
        assert_eq!(
            platforms(&[
                "linux/amd64, linux/arm64/v8",
                "linux/arm,linux/x86_64,linux/aarch64"
            ]),
            are(&["linux/amd64", "linux/arm64", "linux/arm/v7"])
        );
        assert_eq!(platforms(&["local"]), are(&[&Platform::host().to_string()]));
        assert_eq!(platforms(&[""]), are(&["linux/s390x", "linux/arm/v7"]));
        assert!(
            platforms(&["linux/a/b/c"])
                .unwrap_err()
                .contains("invalid platform")
        );
    }

    #[test]
    fn where_one_is_meant_two_are_too_many() {
        let environment = Environment::with(&[]);
        let text = "linux/amd64,linux/arm64".to_owned();
        assert_eq!(
            one(Some(&text), &environment).unwrap_err().message,
            "expected one platform, got linux/amd64 and linux/arm64"
        );
        assert_eq!(one(None, &environment), Ok(None));
        assert!(of_flag(Some(&text)).is_err());
    }
}
