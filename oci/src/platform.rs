//! Platforms: what an image runs on, and which image of an index serves a platform.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Operating system, architecture and variant, in normal form.
///
/// OCI image-spec v1.1, image-index.md, "platform". The normal form is Docker's: `x86_64` is
/// `amd64`, `aarch64` and `arm64/v8` are `arm64`, a bare `arm` is `arm/v7`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(from = "Written")]
pub struct Platform {
    /// E.g. `linux`.
    pub os: String,
    /// E.g. `amd64`.
    pub architecture: String,
    /// E.g. `v7`; empty for none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub variant: String,
    /// E.g. `10.0.14393.1066`, of Windows; empty for none. It is not shown, and does not decide
    /// which image serves.
    #[serde(rename = "os.version", skip_serializing_if = "String::is_empty")]
    pub os_version: String,
}

/// Farther than any variant.
const PREDECESSOR: u32 = 1000;

/// A platform as JSON has it, in any spelling.
#[derive(Deserialize)]
struct Written {
    os: Option<String>,
    architecture: Option<String>,
    variant: Option<String>,
    #[serde(rename = "os.version")]
    os_version: Option<String>,
}

impl From<Written> for Platform {
    fn from(written: Written) -> Self {
        let os = written.os.unwrap_or_default();
        let architecture = written.architecture.unwrap_or_default();
        let variant = written.variant.unwrap_or_default();
        Self {
            os_version: written.os_version.unwrap_or_default(),
            ..Self::new(&os, &architecture, &variant)
        }
    }
}

/// A text that is not a platform.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPlatform {
    /// It has too many parts, or strange ones.
    #[error("invalid platform {0:?}: expected os, os/arch or os/arch/variant, e.g. linux/arm64")]
    Form(String),
    /// It has one part, and no list says whether it is a system or an architecture.
    #[error(
        "invalid platform {0:?}: unknown operating system or architecture; \
         platforms are, for example, linux/amd64, linux/arm64 and linux/arm/v7"
    )]
    Unknown(String),
}

/// Operating systems that may stand alone: those of Go, as in containerd's `platforms.Parse`.
const SYSTEMS: &[&str] = &[
    "aix",
    "android",
    "darwin",
    "dragonfly",
    "freebsd",
    "hurd",
    "illumos",
    "ios",
    "js",
    "linux",
    "macos",
    "nacl",
    "netbsd",
    "openbsd",
    "plan9",
    "solaris",
    "wasi",
    "wasip1",
    "windows",
    "zos",
];
/// Architectures that may stand alone, in normal form; likewise.
const ARCHITECTURES: &[&str] = &[
    "386",
    "amd64",
    "amd64p32",
    "arm",
    "arm64",
    "arm64be",
    "armbe",
    "loong64",
    "mips",
    "mips64",
    "mips64le",
    "mips64p32",
    "mips64p32le",
    "mipsle",
    "ppc",
    "ppc64",
    "ppc64le",
    "riscv",
    "riscv64",
    "s390",
    "s390x",
    "sparc",
    "sparc64",
    "wasm",
];

impl Platform {
    /// Returns the platform with its parts brought into normal form.
    #[must_use]
    pub fn new(os: &str, architecture: &str, variant: &str) -> Self {
        let os = match os.to_ascii_lowercase().as_str() {
            "macos" => "darwin".to_owned(),
            other => other.to_owned(),
        };
        let architecture = architecture.to_ascii_lowercase();
        let variant = variant.to_ascii_lowercase();
        let (architecture, variant) = match (architecture.as_str(), variant.as_str()) {
            ("x86_64" | "x86-64" | "amd64", "" | "v1") => ("amd64", ""),
            ("x86_64" | "x86-64", variant) => ("amd64", variant),
            ("i386" | "i486" | "i586" | "i686", _) => ("386", ""),
            ("aarch64" | "arm64", "" | "8" | "v8") => ("arm64", ""),
            ("aarch64", variant) => ("arm64", variant),
            ("armhf", _) => ("arm", "v7"),
            ("armel", _) => ("arm", "v6"),
            ("arm", "" | "7") => ("arm", "v7"),
            ("arm", "5") => ("arm", "v5"),
            ("arm", "6") => ("arm", "v6"),
            ("arm", "8") => ("arm", "v8"),
            other => other,
        };
        Self {
            os,
            architecture: architecture.to_owned(),
            variant: variant.to_owned(),
            os_version: String::new(),
        }
    }

    /// Returns the platform that this program was compiled for.
    #[must_use]
    pub fn host() -> Self {
        let architecture = match std::env::consts::ARCH {
            "x86" => "386",
            "powerpc64" => "ppc64le",
            "loongarch64" => "loong64",
            other => other,
        };
        Self::new(std::env::consts::OS, architecture, "")
    }

    /// Returns how well an image of platform `offered` serves `self`: smaller is better, none
    /// means not at all.
    ///
    /// As containerd's `platforms.Only` has it: lower variants serve higher ones, and processors of
    /// 64 bits run what is there for their predecessors of 32.
    #[must_use]
    pub fn distance(&self, offered: &Self) -> Option<u32> {
        if self.os != offered.os {
            return None;
        }
        if self.architecture == offered.architecture {
            return self.variant_distance(offered);
        }
        let predecessor = match self.architecture.as_str() {
            "amd64" => Self::new(&self.os, "386", ""),
            "arm64" => Self::new(&self.os, "arm", "v8"),
            _ => return None,
        };
        if predecessor.architecture != offered.architecture {
            return None;
        }
        Some(PREDECESSOR + predecessor.variant_distance(offered)?)
    }

    /// Returns the same for platforms that differ in nothing but the variant.
    fn variant_distance(&self, offered: &Self) -> Option<u32> {
        let level = |variant: &str, lowest: u32| match variant.trim_start_matches('v') {
            "" => Some(lowest),
            text => text.split('.').next().and_then(|major| major.parse().ok()),
        };
        let lowest = match self.architecture.as_str() {
            "amd64" => 1,
            "arm64" => 8,
            "arm" => 5,
            _ => return (self.variant == offered.variant).then_some(0),
        };
        let (wanted, offered) = (
            level(&self.variant, lowest)?,
            level(&offered.variant, lowest)?,
        );
        wanted.checked_sub(offered)
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        if !self.variant.is_empty() {
            write!(f, "/{}", self.variant)?;
        }
        Ok(())
    }
}

impl FromStr for Platform {
    type Err = InvalidPlatform;

    fn from_str(text: &str) -> Result<Self, InvalidPlatform> {
        let parts: Vec<&str> = text.trim().split('/').collect();
        let word = |part: &&str| {
            !part.is_empty()
                && part
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
        };
        if !parts.iter().all(word) {
            return Err(InvalidPlatform::Form(text.to_owned()));
        }
        let host = Self::host();
        match *parts.as_slice() {
            [one] => match one.to_ascii_lowercase().as_str() {
                "local" => Ok(host),
                system if SYSTEMS.contains(&system) => {
                    Ok(Self::new(one, &host.architecture, &host.variant))
                }
                _ => {
                    let platform = Self::new(&host.os, one, "");
                    if ARCHITECTURES.contains(&platform.architecture.as_str()) {
                        Ok(platform)
                    } else {
                        Err(InvalidPlatform::Unknown(text.to_owned()))
                    }
                }
            },
            [os, architecture] => Ok(Self::new(os, architecture, "")),
            [os, architecture, variant] => Ok(Self::new(os, architecture, variant)),
            _ => Err(InvalidPlatform::Form(text.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn specifiers_come_out_in_normal_form() {
        for (text, expected) in [
            ("linux/x86_64", "linux/amd64"),
            ("linux/aarch64", "linux/arm64"),
            ("linux/arm64/v8", "linux/arm64"),
            ("linux/arm", "linux/arm/v7"),
            ("linux/armel", "linux/arm/v6"),
            ("linux/amd64/v1", "linux/amd64"),
            ("linux/amd64/v3", "linux/amd64/v3"),
            ("Linux/AMD64", "linux/amd64"),
            ("macos/arm64", "darwin/arm64"),
        ] {
            let platform: Platform = text.parse().unwrap();
            assert_eq!(platform.to_string(), expected, "{text}");
        }
        for text in ["", "/", "linux//v7", "a/b/c/d", "linux/am d64"] {
            assert!(text.parse::<Platform>().is_err(), "{text}");
        }
    }

    #[test]
    fn one_word_is_a_system_or_an_architecture() {
        let host = Platform::host();
        let parse = |text: &str| {
            text.parse::<Platform>()
                .map(|platform| platform.to_string())
        };
        assert_eq!(parse("linux"), Ok(format!("linux/{}", host.architecture)));
        assert_eq!(parse("AARCH64"), Ok(format!("{}/arm64", host.os)));
        assert_eq!(parse("armhf"), Ok(format!("{}/arm/v7", host.os)));
        assert_eq!(
            parse("bogus"),
            Err(InvalidPlatform::Unknown("bogus".to_owned()))
        );
        // Two words are taken as they are: there may be systems that kiln does not list.
        assert_eq!(parse("linux/bogus"), Ok("linux/bogus".to_owned()));
    }

    #[test]
    fn local_is_the_platform_of_this_machine() {
        assert_eq!("Local".parse(), Ok(Platform::host()));
    }

    #[test]
    fn json_has_every_member_in_normal_form() {
        let text = r#"{"os":"Windows","architecture":"x86_64","os.version":"10.0","variant":null}"#;
        let platform: Platform = serde_json::from_str(text).unwrap();
        assert_eq!(platform.to_string(), "windows/amd64");
        assert_eq!(platform.os_version, "10.0");
    }

    #[test]
    fn lower_variants_serve_higher_ones() {
        let distance = |wanted: &str, offered: &str| {
            let (wanted, offered): (Platform, Platform) =
                (wanted.parse().unwrap(), offered.parse().unwrap());
            wanted.distance(&offered)
        };
        assert_eq!(distance("linux/arm/v7", "linux/arm/v7"), Some(0));
        assert_eq!(distance("linux/arm/v7", "linux/arm/v5"), Some(2));
        assert_eq!(distance("linux/arm/v6", "linux/arm/v7"), None);
        assert_eq!(distance("linux/amd64/v3", "linux/amd64"), Some(2));
        assert_eq!(distance("linux/amd64", "linux/arm64"), None);
        assert_eq!(distance("linux/riscv64", "linux/riscv64"), Some(0));
    }

    #[test]
    fn predecessors_serve_where_nothing_else_does() {
        let distance = |wanted: &str, offered: &str| {
            let (wanted, offered): (Platform, Platform) =
                (wanted.parse().unwrap(), offered.parse().unwrap());
            wanted.distance(&offered)
        };
        let own = distance("linux/amd64/v4", "linux/amd64").unwrap();
        let older = distance("linux/amd64/v4", "linux/386").unwrap();
        assert!(own < older);
        let (seven, six) = (
            distance("linux/arm64", "linux/arm/v7").unwrap(),
            distance("linux/arm64", "linux/arm/v6").unwrap(),
        );
        assert!(seven < six);
        assert_eq!(distance("linux/386", "linux/amd64"), None);
        assert_eq!(distance("linux/arm/v7", "linux/arm64"), None);
        assert_eq!(distance("linux/amd64", "linux/arm/v7"), None);
        assert_eq!(distance("windows/amd64", "linux/386"), None);
    }
}
