//! Entries of the cache as lines.

use kiln_engine::{CacheEntry, Sharing, Usability};
use kiln_oci::Timestamp;
use serde_json::{Value, json};

use kiln_docker::time::date;
use kiln_docker::{Listing, units};

/// How entries are listed.
pub(crate) const LISTING: Listing = Listing {
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

/// Returns the fields of an entry.
pub(crate) fn row(entry: &CacheEntry, now: Timestamp) -> Value {
    let ago = |time: Timestamp| format!("{} ago", units::age(now.since(time)));
    let used = ago(entry.last_used);
    json!({
        "ID": entry.id,
        "Parents": entry.parents,
        "Type": entry.kind.as_str(),
        "CacheType": entry.kind.as_str(),
        "Description": entry.description,
        "Reclaimable": entry.usability == Usability::Idle,
        "InUse": entry.usability == Usability::InUse,
        "Mutable": entry.kind.is_mutable(),
        "Shared": entry.sharing == Sharing::Shared,
        "Size": units::size(entry.size_bytes),
        "Cost": cost(entry.cost),
        "CreatedAt": entry.created.map_or_else(String::new, date),
        "CreatedSince": entry.created.map_or_else(String::new, ago),
        "LastAccessed": used,
        "LastUsedSince": used,
        "LastUsedAt": date(entry.last_used),
    })
}

/// Returns an entry as `--verbose` shows it.
pub(super) fn block(entry: &CacheEntry, now: Timestamp) -> String {
    let row = row(entry, now);
    let mut text = String::new();
    let mut line = |title: &str, value: &str| {
        if !value.is_empty() {
            text.push_str(&format!("{title:<15}{value}\n"));
        }
    };
    let field = |name: &str| row[name].as_str().unwrap_or_default().to_owned();
    line("ID:", &entry.id);
    line("Parent:", &entry.parents.join(", "));
    line("Created at:", &field("CreatedAt"));
    line("Mutable:", &entry.kind.is_mutable().to_string());
    line("Reclaimable:", &row["Reclaimable"].to_string());
    line("Shared:", &row["Shared"].to_string());
    line("Size:", &field("Size"));
    line("Cost:", &field("Cost"));
    line("Description:", &entry.description);
    line("Last used:", &field("LastAccessed"));
    line("Type:", entry.kind.as_str());
    text
}

/// Returns what making an entry again costs.
fn cost(cost: std::time::Duration) -> String {
    format!("{:.1}s", cost.as_secs_f64())
}
