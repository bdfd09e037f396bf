//! `docker images`.

use kiln_oci::{ImageId, ImageRef, Sha256, Timestamp};
use serde_json::{Value, json};

use super::width::Width;
use crate::filter::matches_pattern;
use crate::listing::Listing;
use crate::time::{ago, date};
use crate::units;

/// How images are listed.
pub const IMAGES: Listing = Listing {
    default: "table {{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}",
    titles: &[
        ("ID", "IMAGE ID"),
        ("Repository", "REPOSITORY"),
        ("Tag", "TAG"),
        ("Digest", "DIGEST"),
        ("CreatedSince", "CREATED"),
        ("CreatedAt", "CREATED AT"),
        ("Size", "SIZE"),
        ("Containers", "CONTAINERS"),
        ("SharedSize", "SHARED SIZE"),
        ("UniqueSize", "UNIQUE SIZE"),
    ],
};
/// The columns of `--digests`.
pub const IMAGES_WITH_DIGESTS: &str =
    "table {{.Repository}}\t{{.Tag}}\t{{.Digest}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}";
/// The keys of filters.
pub const IMAGE_FILTERS: [&str; 5] = ["dangling", "label", "reference", "before", "since"];
/// What stands for a missing part of a name.
const NONE: &str = "<none>";
/// What stands for a time or a number that is not known.
const UNKNOWN: &str = "N/A";

/// A name of an image, or an image without one.
#[derive(Clone, Copy, Debug)]
pub struct ImageRow<'a> {
    /// The id.
    pub id: ImageId,
    /// The name.
    pub name: Option<&'a ImageRef>,
    /// What the name points to.
    pub manifest: Sha256,
    /// When the image was made.
    pub created: Option<Timestamp>,
    /// Bytes of its layers.
    pub size_bytes: u64,
}

impl ImageRow<'_> {
    /// Returns the fields of [`IMAGES`].
    #[must_use]
    pub fn to_json(&self, now: Timestamp, width: Width) -> Value {
        json!({
            "ID": match width {
                Width::Whole => self.id.to_string(),
                Width::Cut => self.id.0.short(),
            },
            "Repository": repository(self.name),
            "Tag": tag(self.name),
            "Digest": self.manifest.to_string(),
            "CreatedSince": created_since(self.created, now),
            "CreatedAt": self.created.map_or(UNKNOWN.to_owned(), date),
            "Size": units::short_size(self.size_bytes),
            "Containers": UNKNOWN,
            "SharedSize": UNKNOWN,
            "UniqueSize": UNKNOWN,
        })
    }
}

/// Returns a name's repository.
pub(super) fn repository(name: Option<&ImageRef>) -> String {
    name.map_or(NONE.to_owned(), ImageRef::familiar_repository)
}

/// Returns a name's tag.
pub(super) fn tag(name: Option<&ImageRef>) -> String {
    name.and_then(ImageRef::tag).unwrap_or(NONE).to_owned()
}

/// Returns how long ago an image was made.
pub(super) fn created_since(created: Option<Timestamp>, now: Timestamp) -> String {
    created.map_or(UNKNOWN.to_owned(), |created| ago(created, now))
}

/// Says whether an image is of a repository, and of a tag if one is given.
#[must_use]
pub fn is_named(name: Option<&ImageRef>, wanted: &str) -> bool {
    let Some(name) = name else {
        return false;
    };
    match wanted.parse::<ImageRef>() {
        Ok(wanted) => {
            wanted.repository() == name.repository()
                && wanted.tag().is_none_or(|tag| Some(tag) == name.tag())
        }
        // Not a name, perhaps a pattern.
        Err(_) => matches_reference(Some(name), wanted),
    }
}

/// Says whether a pattern fits a name, with its tag or without.
#[must_use]
pub fn matches_reference(name: Option<&ImageRef>, pattern: &str) -> bool {
    name.is_some_and(|name| {
        matches_pattern(pattern, &name.familiar())
            || matches_pattern(pattern, &name.familiar_repository())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_have_dockers_fields() {
        let name: ImageRef = "team/app:v1".parse().unwrap();
        let row = ImageRow {
            id: ImageId(Sha256::of(b"config")),
            name: Some(&name),
            manifest: Sha256::of(b"manifest"),
            created: Some(Timestamp::from_seconds(1_700_000_000)),
            size_bytes: 7_810,
        };
        let now = Timestamp::from_seconds(1_700_000_000 + 7200);
        let fields = |row: &ImageRow<'_>| {
            let row = row.to_json(now, Width::Cut);
            let field = |name: &str| row[name].as_str().unwrap().to_owned();
            ["Repository", "Tag", "CreatedSince", "CreatedAt", "Size"].map(field)
        };
        assert_eq!(
            fields(&row),
            [
                "team/app",
                "v1",
                "2 hours ago",
                "2023-11-14 22:13:20 +0000 UTC",
                "7.81kB"
            ]
        );
        let nameless = ImageRow { name: None, ..row };
        assert_eq!(fields(&nameless)[..2], ["<none>", "<none>"]);
    }

    #[test]
    fn names_select_repositories_and_tags() {
        let name: ImageRef = "team/app:v1".parse().unwrap();
        for (wanted, expected) in [
            ("team/app", true),
            ("team/app:v1", true),
            ("docker.io/team/app", true),
            ("team/app:v2", false),
            ("app", false),
            ("team/*", true),
        ] {
            assert_eq!(is_named(Some(&name), wanted), expected, "{wanted}");
        }
    }
}
