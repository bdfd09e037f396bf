//! Why a manifest cannot be used.

use kiln_oci::{InvalidDocument, LARGEST_CONFIG, LARGEST_MANIFEST, Platform, Sha256, one_line};

/// Platforms of an index which are worth showing.
const SHOWN: usize = 32;

/// Why a manifest cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// It is neither a manifest nor an index.
    #[error(transparent)]
    Document(#[from] InvalidDocument),
    /// It is larger than manifests may be.
    #[error("manifest of {name} is larger than {LARGEST_MANIFEST} bytes")]
    TooLarge {
        /// What was asked for.
        name: String,
    },
    /// Its config is larger than any that was made on purpose.
    #[error("config of {name} has {size_bytes} bytes, more than {LARGEST_CONFIG}")]
    LargeConfig {
        /// What was asked for.
        name: String,
        /// What the manifest says of it.
        size_bytes: u64,
    },
    /// The index has nothing for the platform.
    #[error(
        "no matching manifest for {wanted} in the manifest list entries of {digest} (available: {})",
        list(available)
    )]
    NoPlatform {
        /// The index.
        digest: Sha256,
        /// What was asked for.
        wanted: Platform,
        /// What there is.
        available: Box<[Platform]>,
    },
    /// Indexes within indexes within indexes, or very many of them.
    #[error("index {0} nests too deep")]
    TooDeep(Sha256),
}

fn list(platforms: &[Platform]) -> String {
    match platforms {
        [] => "none".to_owned(),
        some => {
            let names = some.iter().take(SHOWN);
            let mut names: Vec<String> = names.map(|name| one_line(&name.to_string())).collect();
            if some.len() > SHOWN {
                names.push(format!("and {} more", some.len() - SHOWN));
            }
            names.join(", ")
        }
    }
}
