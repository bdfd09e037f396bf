//! Paths of a root in stored jobs: text with a leading slash. Jobs come from command lines and
//! image configurations, which are text too.

use kiln_files::GuestPath;
use serde::{Deserialize as _, Deserializer, Serializer};

pub(crate) fn serialize<S: Serializer>(path: &GuestPath, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(path)
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<GuestPath, D::Error> {
    String::deserialize(from).map(GuestPath::new)
}

/// Several paths.
pub(crate) mod several {
    use kiln_files::GuestPath;
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(paths: &[GuestPath], to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(paths.iter().map(ToString::to_string))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Vec<GuestPath>, D::Error> {
        let texts = Vec::<String>::deserialize(from)?;
        Ok(texts.into_iter().map(GuestPath::new).collect())
    }
}
