//! `docker buildx du`, and the build cache in `docker system df`.

use std::time::Duration;

use kiln_oci::Timestamp;
use serde_json::{Value, json};

use crate::listing::Listing;
use crate::time::{ago, date};
use crate::units;

/// How entries are listed.
pub const BUILD_CACHE: Listing = Listing {
    default: "table {{.ID}}{{if .Mutable}}*{{end}}\t{{.Reclaimable}}\t\
              {{.Size}}{{if .Shared}}*{{end}}\t{{.LastAccessed}}",
    titles: &[
        ("ID", "ID"),
        ("Reclaimable", "RECLAIMABLE"),
        ("Size", "SIZE"),
        ("LastAccessed", "LAST ACCESSED"),
        ("LastUsedSince", "LAST USED"),
        ("LastUsedAt", "LAST USED AT"),
        ("CreatedAt", "CREATED AT"),
        ("CreatedSince", "CREATED"),
        ("Type", "CACHE TYPE"),
        ("CacheType", "CACHE TYPE"),
        ("Description", "DESCRIPTION"),
        ("Parents", "PARENTS"),
        ("Cost", "COST"),
        // Marks in the columns above; a column title has none.
        ("Mutable", ""),
        ("Shared", ""),
        ("InUse", "IN USE"),
    ],
};
/// The columns of `system df --verbose`.
pub const BUILD_CACHE_USAGE: &str = "table {{.ID}}\t{{.CacheType}}\t{{.Size}}\t{{.CreatedSince}}\t\
     {{.LastUsedSince}}\t{{.Cost}}\t{{.Description}}";

/// Whether only the cache holds something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordSharing {
    /// An image or a container holds it too.
    Shared,
    /// Nothing else holds it.
    Private,
}

/// Whether something changes after it was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordMutability {
    /// It changes in place.
    Mutable,
    /// It does not change.
    Immutable,
}

/// Whether something is used now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordUse {
    /// A build works with it.
    InUse,
    /// It can be removed.
    Reclaimable,
}

/// An entry of the build cache.
#[derive(Clone, Copy, Debug)]
pub struct CacheRecord<'a> {
    /// The id.
    pub id: &'a str,
    /// The ids of what it was made from.
    pub parents: &'a [String],
    /// What kind of thing it is, in BuildKit's words.
    pub kind: &'a str,
    /// What it is.
    pub description: &'a str,
    /// Whether it changes.
    pub mutability: RecordMutability,
    /// Whether only the cache holds it.
    pub sharing: RecordSharing,
    /// Whether it is used now.
    pub cache_use: RecordUse,
    /// Bytes on disk.
    pub size_bytes: u64,
    /// What making it again takes.
    pub cost: Duration,
    /// When it was made.
    pub created: Option<Timestamp>,
    /// When it was used last.
    pub last_used: Timestamp,
}

impl CacheRecord<'_> {
    /// Returns the fields of [`BUILD_CACHE`].
    #[must_use]
    pub fn to_json(&self, now: Timestamp) -> Value {
        let used = ago(self.last_used, now);
        json!({
            "ID": self.id,
            "Parents": self.parents,
            "Type": self.kind,
            "CacheType": self.kind,
            "Description": self.description,
            "Reclaimable": self.cache_use == RecordUse::Reclaimable,
            "InUse": self.cache_use == RecordUse::InUse,
            "Mutable": self.mutability == RecordMutability::Mutable,
            "Shared": self.sharing == RecordSharing::Shared,
            "Size": units::size(self.size_bytes),
            "Cost": format!("{:.1}s", self.cost.as_secs_f64()),
            "CreatedAt": self.created.map_or_else(String::new, date),
            "CreatedSince": self.created.map_or_else(String::new, |created| ago(created, now)),
            "LastAccessed": used,
            "LastUsedSince": used,
            "LastUsedAt": date(self.last_used),
        })
    }

    /// Returns its lines in `buildx du --verbose`.
    #[must_use]
    pub fn to_text(&self, now: Timestamp) -> String {
        let row = self.to_json(now);
        let mut text = String::new();
        let mut line = |title: &str, value: &str| {
            if !value.is_empty() {
                text.push_str(&format!("{title:<15}{value}\n"));
            }
        };
        let field = |name: &str| row[name].as_str().unwrap_or_default().to_owned();
        line("ID:", self.id);
        line("Parent:", &self.parents.join(", "));
        line("Created at:", &field("CreatedAt"));
        line("Mutable:", &row["Mutable"].to_string());
        line("Reclaimable:", &row["Reclaimable"].to_string());
        line("Shared:", &row["Shared"].to_string());
        line("Size:", &field("Size"));
        line("Cost:", &field("Cost"));
        line("Description:", self.description);
        line("Last used:", &field("LastAccessed"));
        line("Type:", self.kind);
        text
    }
}
