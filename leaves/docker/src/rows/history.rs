//! `docker history`.

use kiln_oci::{ImageId, Timestamp};
use serde_json::{Value, json};

use super::width::Width;
use crate::listing::Listing;
use crate::time::ago;
use crate::units;

/// How the history of an image is listed.
pub const HISTORY: Listing = Listing {
    default: "table {{.ID}}\t{{.CreatedSince}}\t{{.CreatedBy}}\t{{.Size}}\t{{.Comment}}",
    titles: &[
        ("ID", "IMAGE"),
        ("CreatedSince", "CREATED"),
        ("CreatedAt", "CREATED AT"),
        ("CreatedBy", "CREATED BY"),
        ("Size", "SIZE"),
        ("Comment", "COMMENT"),
    ],
};
/// Characters of CREATED BY, as in docker.
const CREATED_BY_WIDTH: usize = 45;

/// How sizes and times are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Numbers {
    /// `7.81kB` and `2 hours ago`.
    ForPeople,
    /// `7810` and `2023-11-14T22:13:20Z`.
    Exact,
}

/// An entry of an image's history.
#[derive(Clone, Copy, Debug)]
pub struct HistoryRow<'a> {
    /// The image's id, in the newest entry.
    pub id: Option<ImageId>,
    /// When it was made.
    pub created: Option<Timestamp>,
    /// The instruction.
    pub created_by: &'a str,
    /// Bytes of its layer.
    pub size_bytes: u64,
    /// Which builder made it.
    pub comment: &'a str,
}

impl HistoryRow<'_> {
    /// Returns the fields of [`HISTORY`].
    #[must_use]
    pub fn to_json(&self, now: Timestamp, numbers: Numbers, width: Width) -> Value {
        let id = match (self.id, width) {
            (Some(id), Width::Whole) => id.to_string(),
            (Some(id), Width::Cut) => id.0.short(),
            (None, _) => "<missing>".to_owned(),
        };
        let created_at = self
            .created
            .map_or("N/A".to_owned(), |time| time.to_string());
        let since = match (self.created, numbers) {
            (Some(time), Numbers::ForPeople) => ago(time, now),
            (Some(_), Numbers::Exact) => created_at.clone(),
            (None, _) => "N/A".to_owned(),
        };
        // Tabs would be taken for columns.
        let created_by = self.created_by.replace('\t', " ");
        json!({
            "ID": id,
            "CreatedSince": since,
            "CreatedAt": created_at,
            "CreatedBy": width.text(created_by, CREATED_BY_WIDTH),
            "Size": match numbers {
                Numbers::ForPeople => units::short_size(self.size_bytes),
                Numbers::Exact => self.size_bytes.to_string(),
            },
            "Comment": self.comment,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_for_people_or_exact() {
        let row = HistoryRow {
            id: None,
            created: Some(Timestamp::from_seconds(1_700_000_000)),
            created_by: "RUN\tmake install && make check && make distcheck",
            size_bytes: 7_810,
            comment: "",
        };
        let now = Timestamp::from_seconds(1_700_007_200);
        let fields = |numbers, width| {
            let row = row.to_json(now, numbers, width);
            ["ID", "CreatedSince", "CreatedBy", "Size"]
                .map(|name| row[name].as_str().unwrap().to_owned())
        };
        assert_eq!(
            fields(Numbers::ForPeople, Width::Cut),
            [
                "<missing>",
                "2 hours ago",
                "RUN make install && make check && make distc…",
                "7.81kB"
            ]
        );
        assert_eq!(
            fields(Numbers::Exact, Width::Whole),
            [
                "<missing>",
                "2023-11-14T22:13:20Z",
                "RUN make install && make check && make distcheck",
                "7810"
            ]
        );
    }
}
