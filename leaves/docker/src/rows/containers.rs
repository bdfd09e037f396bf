//! `docker ps`.

use std::collections::BTreeMap;

use kiln_oci::Timestamp;
use serde_json::{Value, json};

use super::width::{Width, short};
use crate::filter::{Filters, matches_expression};
use crate::listing::Listing;
use crate::time::{ago, date};
use crate::units;

/// How containers are listed.
pub const CONTAINERS: Listing = Listing {
    default: "table {{.ID}}\t{{.Image}}\t{{.Command}}\t{{.CreatedAgo}}\t{{.Status}}\t{{.Ports}}\t\
              {{.Names}}",
    titles: &[
        ("ID", "CONTAINER ID"),
        ("Image", "IMAGE"),
        ("Command", "COMMAND"),
        ("CreatedAgo", "CREATED"),
        ("RunningFor", "CREATED"),
        ("CreatedAt", "CREATED AT"),
        ("State", "STATE"),
        ("Status", "STATUS"),
        ("Ports", "PORTS"),
        ("Names", "NAMES"),
        ("Labels", "LABELS"),
        ("Networks", "NETWORKS"),
        ("Mounts", "MOUNTS"),
        ("Size", "SIZE"),
    ],
};
/// The keys of filters.
pub const CONTAINER_FILTERS: [&str; 6] = ["id", "name", "label", "exited", "status", "ancestor"];
/// Characters of COMMAND, as in docker.
const COMMAND_WIDTH: usize = 20;

/// Where a container is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContainerState {
    /// It never ran.
    Created,
    /// It runs.
    Running {
        /// Since when.
        since: Timestamp,
    },
    /// It ran.
    Exited {
        /// Its exit code.
        code: u8,
        /// When it ended.
        at: Timestamp,
    },
}

impl ContainerState {
    /// Returns docker's word.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Running { .. } => "running",
            Self::Exited { .. } => "exited",
        }
    }

    /// Returns the line below STATUS.
    #[must_use]
    pub fn status(self, now: Timestamp) -> String {
        match self {
            Self::Created => "Created".to_owned(),
            Self::Running { since } => format!("Up {}", units::age(now.since(since))),
            Self::Exited { code, at } => format!("Exited ({code}) {}", ago(at, now)),
        }
    }
}

/// A container.
#[derive(Clone, Copy, Debug)]
pub struct ContainerRow<'a> {
    /// The id, whole.
    pub id: &'a str,
    /// The name, without a slash.
    pub name: &'a str,
    /// The image, as the person called it.
    pub image: &'a str,
    /// The image's id.
    pub image_id: &'a str,
    /// What runs in it.
    pub command: &'a [String],
    /// When it was made.
    pub created: Timestamp,
    /// Where it is in its life.
    pub state: ContainerState,
    /// Its labels.
    pub labels: &'a BTreeMap<String, String>,
    /// The name of its network.
    pub network: &'a str,
}

impl ContainerRow<'_> {
    /// Returns the fields of [`CONTAINERS`].
    #[must_use]
    pub fn to_json(&self, now: Timestamp, width: Width) -> Value {
        let command = width.text(self.command.join(" "), COMMAND_WIDTH);
        let ago = ago(self.created, now);
        json!({
            "ID": match width {
                Width::Whole => self.id,
                Width::Cut => short(self.id),
            },
            "Image": self.image,
            "Command": format!("{command:?}"),
            "CreatedAgo": ago,
            "RunningFor": ago,
            "CreatedAt": date(self.created),
            "State": self.state.word(),
            "Status": self.state.status(now),
            "Ports": "",
            "Names": self.name,
            "Labels": labels(self.labels),
            "Label": self.labels,
            "Networks": self.network,
            "Mounts": "",
            "Size": "0B",
        })
    }

    /// Says whether filters with keys of [`CONTAINER_FILTERS`] let it pass.
    #[must_use]
    pub fn passes(&self, filters: &Filters) -> bool {
        let has_code = |wanted: &str| match self.state {
            ContainerState::Exited { code, .. } => wanted == code.to_string(),
            _ => false,
        };
        filters.any("id", |id| matches_expression(id, self.id))
            && filters.any("name", |name| {
                matches_expression(name, self.name)
                    || matches_expression(name, &format!("/{}", self.name))
            })
            && filters.any("status", |status| status == self.state.word())
            && filters.any("exited", has_code)
            && filters.any("ancestor", |image| self.is_of(image))
            && filters.labels(self.labels)
    }

    /// Says whether it was made of an image, by its name or the beginning of its id.
    fn is_of(&self, image: &str) -> bool {
        let id = self.image_id.trim_start_matches("sha256:");
        self.image == image
            || self.image.strip_suffix(":latest") == Some(image)
            || (image.len() >= 4 && id.starts_with(image.trim_start_matches("sha256:")))
    }
}

fn labels(labels: &BTreeMap<String, String>) -> String {
    let pairs: Vec<String> = labels
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    pairs.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_seconds(280);
    const EXITED: ContainerState = ContainerState::Exited {
        code: 137,
        at: Timestamp::from_seconds(160),
    };

    #[test]
    fn statuses_are_dockers() {
        let running = ContainerState::Running {
            since: Timestamp::from_seconds(100),
        };
        for (state, expected) in [
            (ContainerState::Created, "Created"),
            (running, "Up 3 minutes"),
            (EXITED, "Exited (137) 2 minutes ago"),
        ] {
            assert_eq!(state.status(NOW), expected);
        }
    }

    #[test]
    fn rows_pass_filters_and_are_cut() {
        let labels = BTreeMap::from([("tier".to_owned(), "web".to_owned())]);
        let command = ["sleep".to_owned(), "infinity and beyond".to_owned()];
        let row = ContainerRow {
            id: "0123456789abcdef",
            name: "web",
            image: "app:latest",
            image_id: "sha256:fedcba98",
            command: &command,
            created: Timestamp::from_seconds(100),
            state: EXITED,
            labels: &labels,
            network: "host",
        };
        for (filter, expected) in [
            ("id=^0123", true),
            ("name=^/web$", true),
            ("name=db", false),
            ("status=exited", true),
            ("status=running", false),
            ("exited=137", true),
            ("exited=0", false),
            ("ancestor=app", true),
            ("ancestor=fedc", true),
            ("ancestor=fed", false),
            ("label=tier=web", true),
            ("label=tier=db", false),
        ] {
            let filters = Filters::parse(&[filter.to_owned()], &CONTAINER_FILTERS).unwrap();
            assert_eq!(row.passes(&filters), expected, "{filter}");
        }
        let fields = |width| {
            let row = row.to_json(NOW, width);
            ["ID", "Command", "Labels"].map(|name| row[name].as_str().unwrap().to_owned())
        };
        assert_eq!(
            fields(Width::Cut),
            ["0123456789ab", "\"sleep infinity and …\"", "tier=web"]
        );
        assert_eq!(fields(Width::Whole)[1], "\"sleep infinity and beyond\"");
    }
}
