//! How much the cache may keep: flags, variables, a file, defaults, in this order.
//!
//! ```toml
//! [cache]
//! reserved-space = "10GB"     # never taken from the cache to make room
//! max-used-space = "60%"      # of the disk, or bytes
//! min-free-space = "20GB"     # left free on the disk if possible
//! max-used-inodes = "60%"     # of the disk's, or a number
//! min-free-inodes = "10%"     # left free on the disk if possible
//! keep-untagged = false       # keep images that a build made when their last name moves on
//! max-age = "720h"            # what was not used for so long goes
//! automatic = true            # collect behind builds, now and then
//! ```

use std::time::Duration;

use kiln_docker::units;
use kiln_engine::{Amount, CacheSettings, Collection, UnnamedImages};
use kiln_parser::parse_bool;
use serde::Deserialize;

use crate::environment::Environment;
use crate::failure::Failure;

#[derive(Debug, Default, Deserialize)]
struct File {
    #[serde(default)]
    cache: Table,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Table {
    reserved_space: Option<String>,
    max_used_space: Option<String>,
    min_free_space: Option<String>,
    max_used_inodes: Option<String>,
    min_free_inodes: Option<String>,
    keep_untagged: Option<bool>,
    max_age: Option<String>,
    automatic: Option<bool>,
}

/// Returns what the person wants the cache to keep.
pub(crate) fn settings(environment: &Environment) -> Result<CacheSettings, Failure> {
    let mut settings = CacheSettings::default();
    if let Some(path) = environment.configuration_file()
        && let Ok(text) = std::fs::read_to_string(&path)
    {
        let file: File = toml::from_str(&text)
            .map_err(|error| Failure::new(format!("{}: {error}", path.display())))?;
        let of = |name: &'static str| format!("{}: {name}", path.display());
        let table = file.cache;
        settings.reserved = amount(table.reserved_space, &of("reserved-space"))?;
        settings.max_used = amount(table.max_used_space, &of("max-used-space"))?;
        settings.min_free = amount(table.min_free_space, &of("min-free-space"))?;
        settings.max_used_inodes = inodes(table.max_used_inodes, &of("max-used-inodes"))?;
        settings.min_free_inodes = inodes(table.min_free_inodes, &of("min-free-inodes"))?;
        settings.max_age = age(table.max_age, &of("max-age"))?;
        if let Some(keep) = table.keep_untagged {
            settings.unnamed = unnamed(keep);
        }
        if table.automatic == Some(false) {
            settings.collection = Collection::ByHand;
        }
    }
    let variable = |name: &'static str| (environment.text(name), name);
    let (text, name) = variable("KILN_CACHE_RESERVED_SPACE");
    settings.reserved = amount(text, name)?.or(settings.reserved);
    let (text, name) = variable("KILN_CACHE_MAX_USED_SPACE");
    settings.max_used = amount(text, name)?.or(settings.max_used);
    let (text, name) = variable("KILN_CACHE_MIN_FREE_SPACE");
    settings.min_free = amount(text, name)?.or(settings.min_free);
    let (text, name) = variable("KILN_CACHE_MAX_USED_INODES");
    settings.max_used_inodes = inodes(text, name)?.or(settings.max_used_inodes);
    let (text, name) = variable("KILN_CACHE_MIN_FREE_INODES");
    settings.min_free_inodes = inodes(text, name)?.or(settings.min_free_inodes);
    let (text, name) = variable("KILN_CACHE_MAX_AGE");
    settings.max_age = age(text, name)?.or(settings.max_age);
    let switch = |name: &'static str| match environment.text(name) {
        None => Ok(None),
        Some(text) => match parse_bool(&text) {
            Some(value) => Ok(Some(value)),
            None => Err(Failure::new(format!("{name}: invalid value {text:?}"))),
        },
    };
    if let Some(keep) = switch("KILN_CACHE_KEEP_UNTAGGED")? {
        settings.unnamed = unnamed(keep);
    }
    match switch("KILN_CACHE_AUTOMATIC")? {
        Some(true) => settings.collection = Collection::Automatic,
        Some(false) => settings.collection = Collection::ByHand,
        None => {}
    }
    Ok(settings)
}

fn unnamed(keep: bool) -> UnnamedImages {
    if keep {
        UnnamedImages::Stay
    } else {
        UnnamedImages::AreCache
    }
}

fn amount(text: Option<String>, place: &str) -> Result<Option<Amount>, Failure> {
    let parse = |text: String| {
        parse_amount(&text).map_err(|error| Failure::new(format!("{place}: {error}")))
    };
    text.map(parse).transpose()
}

fn inodes(text: Option<String>, place: &str) -> Result<Option<Amount>, Failure> {
    let parse = |text: String| {
        parse_inodes(&text).map_err(|error| Failure::new(format!("{place}: {error}")))
    };
    text.map(parse).transpose()
}

/// Parses bytes, or a part of the disk such as `20%`.
pub(super) fn parse_amount(text: &str) -> Result<Amount, String> {
    parse_part(text, |number| {
        units::parse_size(number).map_err(|error| error.to_string())
    })
}

/// Parses a number of inodes, or a part of those of the disk such as `20%`.
pub(super) fn parse_inodes(text: &str) -> Result<Amount, String> {
    parse_part(text, |number| {
        let number = number.parse();
        number.map_err(|_| format!("invalid number of inodes: '{text}'"))
    })
}

fn parse_part(
    text: &str,
    parse: impl FnOnce(&str) -> Result<u64, String>,
) -> Result<Amount, String> {
    match text.trim().strip_suffix('%') {
        None => parse(text.trim()).map(Amount::Number),
        Some(number) => match number.trim().parse() {
            Ok(percent @ 0..=100) => Ok(Amount::Percent(percent)),
            _ => Err(format!("invalid part of the disk: '{text}'")),
        },
    }
}

fn age(text: Option<String>, place: &str) -> Result<Option<Duration>, Failure> {
    let parse = |text: String| {
        let nanoseconds = kiln_parser::duration::parse(&text).map_err(|error| error.to_string());
        nanoseconds
            .and_then(|n| u64::try_from(n).map_err(|_| "a negative age".to_owned()))
            .map(Duration::from_nanos)
            .map_err(|error| Failure::new(format!("{place}: {error}")))
    };
    text.map(parse).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_go_before_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("kiln/config.toml");
        std::fs::create_dir(file.parent().unwrap()).unwrap();
        std::fs::write(
            &file,
            "[cache]\nmax-used-space = \"60%\"\nmin-free-space = \"5GB\"\nautomatic = false\n\
             max-age = \"48h\"\nmax-used-inodes = \"40%\"\n",
        )
        .unwrap();
        let home = directory.path().to_str().unwrap();
        let read = |more: &[(&str, &str)]| {
            let variables = [&[("XDG_CONFIG_HOME", home)], more].concat();
            settings(&Environment::with(&variables))
        };
        let found = read(&[
            ("KILN_CACHE_MIN_FREE_SPACE", "1g"),
            ("KILN_CACHE_MIN_FREE_INODES", "5000"),
        ])
        .unwrap();
        assert_eq!(
            found,
            CacheSettings {
                reserved: None,
                max_used: Some(Amount::Percent(60)),
                min_free: Some(Amount::Number(1 << 30)),
                max_used_inodes: Some(Amount::Percent(40)),
                min_free_inodes: Some(Amount::Number(5000)),
                max_age: Some(Duration::from_secs(48 * 3600)),
                unnamed: UnnamedImages::AreCache,
                collection: Collection::ByHand,
            }
        );
        let found = read(&[("KILN_CACHE_KEEP_UNTAGGED", "true")]).unwrap();
        assert_eq!(found.unnamed, UnnamedImages::Stay);
        let found = read(&[("KILN_CACHE_AUTOMATIC", "1")]).unwrap();
        assert_eq!(found.collection, Collection::Automatic);
        for (name, value) in [
            ("KILN_CACHE_MAX_USED_SPACE", "120%"),
            ("KILN_CACHE_MAX_USED_INODES", "5k"),
            ("KILN_CACHE_MAX_AGE", "-1h"),
            ("KILN_CACHE_KEEP_UNTAGGED", "some"),
            ("KILN_CACHE_AUTOMATIC", "sometimes"),
        ] {
            let failure = read(&[(name, value)]).unwrap_err();
            assert!(failure.message.starts_with(name), "{failure:?}");
        }
        std::fs::write(&file, "[cache]\nmax-size = \"1\"\n").unwrap();
        assert!(read(&[]).unwrap_err().message.contains("max-size"));
    }
}
