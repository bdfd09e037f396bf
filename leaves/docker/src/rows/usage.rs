//! `docker system df`.

use kiln_oci::{ImageId, ImageRef, Timestamp};
use serde_json::{Value, json};

use super::images::{created_since, repository, tag};
use super::width::short;
use crate::listing::Listing;
use crate::time::{ago, date};
use crate::units;

/// How the sums are listed.
pub const USAGE: Listing = Listing {
    default: "table {{.Type}}\t{{.TotalCount}}\t{{.Active}}\t{{.Size}}\t{{.Reclaimable}}",
    titles: &[
        ("Type", "TYPE"),
        ("TotalCount", "TOTAL"),
        ("Active", "ACTIVE"),
        ("Size", "SIZE"),
        ("Reclaimable", "RECLAIMABLE"),
    ],
};
/// How images are listed with what they take.
pub const IMAGE_USAGE: Listing = Listing {
    default: "table {{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}\t\
              {{.SharedSize}}\t{{.UniqueSize}}\t{{.Containers}}",
    titles: &[
        ("Repository", "REPOSITORY"),
        ("Tag", "TAG"),
        ("ID", "IMAGE ID"),
        ("CreatedSince", "CREATED"),
        ("Size", "SIZE"),
        ("SharedSize", "SHARED SIZE"),
        ("UniqueSize", "UNIQUE SIZE"),
        ("Containers", "CONTAINERS"),
    ],
};
/// How containers are listed with what they take.
pub const CONTAINER_USAGE: Listing = Listing {
    default: "table {{.ID}}\t{{.Image}}\t{{.Command}}\t{{.LocalVolumes}}\t{{.Size}}\t\
              {{.CreatedSince}}\t{{.Status}}\t{{.Names}}",
    titles: &[
        ("ID", "CONTAINER ID"),
        ("Image", "IMAGE"),
        ("Command", "COMMAND"),
        ("LocalVolumes", "LOCAL VOLUMES"),
        ("Size", "SIZE"),
        ("CreatedSince", "CREATED"),
        ("Status", "STATUS"),
        ("Names", "NAMES"),
    ],
};

/// What all things of a kind take.
#[derive(Clone, Copy, Debug)]
pub struct UsageRow<'a> {
    /// The kind, in docker's words.
    pub kind: &'a str,
    /// How many there are.
    pub total: usize,
    /// How many of them are used.
    pub active: usize,
    /// Bytes of all.
    pub size_bytes: u64,
    /// Bytes that pruning would free.
    pub reclaimable_bytes: u64,
}

impl UsageRow<'_> {
    /// Returns the fields of [`USAGE`].
    #[must_use]
    pub fn to_json(&self) -> Value {
        let part = match (self.reclaimable_bytes * 100).checked_div(self.size_bytes) {
            Some(percent) => format!(" ({percent}%)"),
            None => String::new(),
        };
        json!({
            "Type": self.kind,
            "TotalCount": self.total.to_string(),
            "Active": self.active.to_string(),
            "Size": units::size(self.size_bytes),
            "Reclaimable": format!("{}{part}", units::size(self.reclaimable_bytes)),
        })
    }
}

/// What an image takes, under one of its names.
#[derive(Clone, Copy, Debug)]
pub struct ImageUsage<'a> {
    /// The name.
    pub name: Option<&'a ImageRef>,
    /// The id.
    pub id: ImageId,
    /// When it was made.
    pub created: Option<Timestamp>,
    /// Bytes of its layers.
    pub size_bytes: u64,
    /// Bytes of these that no other image has.
    pub unique_bytes: u64,
    /// How many containers were made of it.
    pub containers: usize,
}

impl ImageUsage<'_> {
    /// Returns the fields of [`IMAGE_USAGE`].
    #[must_use]
    pub fn to_json(&self, now: Timestamp) -> Value {
        json!({
            "Repository": repository(self.name),
            "Tag": tag(self.name),
            "ID": self.id.0.short(),
            "CreatedSince": created_since(self.created, now),
            "Size": units::size(self.size_bytes),
            "SharedSize": units::size(self.size_bytes - self.unique_bytes),
            "UniqueSize": units::size(self.unique_bytes),
            "Containers": self.containers.to_string(),
        })
    }
}

/// What a container takes.
#[derive(Clone, Copy, Debug)]
pub struct ContainerUsage<'a> {
    /// The id, whole.
    pub id: &'a str,
    /// The name.
    pub name: &'a str,
    /// The image, as the person called it.
    pub image: &'a str,
    /// What runs in it.
    pub command: &'a [String],
    /// Bytes that it wrote.
    pub size_bytes: u64,
    /// When it was made.
    pub created: Timestamp,
    /// The first word of its status.
    pub status: &'a str,
}

impl ContainerUsage<'_> {
    /// Returns the fields of [`CONTAINER_USAGE`].
    #[must_use]
    pub fn to_json(&self, now: Timestamp) -> Value {
        json!({
            "ID": short(self.id),
            "Image": self.image,
            "Command": format!("{:?}", self.command.join(" ")),
            "LocalVolumes": "0",
            "Size": units::size(self.size_bytes),
            "CreatedSince": ago(self.created, now),
            "CreatedAt": date(self.created),
            "Status": self.status,
            "Names": self.name,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_say_what_part_can_go() {
        let row = |size_bytes, reclaimable_bytes| {
            let row = UsageRow {
                kind: "Images",
                total: 2,
                active: 1,
                size_bytes,
                reclaimable_bytes,
            };
            row.to_json()["Reclaimable"].as_str().unwrap().to_owned()
        };
        assert_eq!(row(4000, 1000), "1kB (25%)");
        assert_eq!(row(0, 0), "0B");
    }
}
