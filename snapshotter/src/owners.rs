//! Ids that files can belong to on this disk.
//!
//! A user namespace may have few ids: only one, if the user has no range in `/etc/subuid`. Files
//! whose owner in the index is not among them then belong to the user who runs kiln. Pushing,
//! saving and copying read owners from the index, so nothing is lost for them. A root made of such
//! files would show wrong owners to a step, and commit would keep them: it is refused.
//!
//! ```text
//! layers/<2 hex>/<layer id>/owners   empty; there if files have not the owners of the index
//! ```
//!
//! A later kiln that has the ids gives the files their owners before it mounts them (see
//! `give_owners`).

use std::fs::{self, File};
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::OnceLock;

use kiln_files::GuestPath;
use kiln_tree::Tree;

use crate::error::LayerError;

/// The mark of a layer whose files have not the owners of the index.
pub(crate) const MARK: &str = "owners";

/// The ids that the user namespace of this process has. A file whose owner is not among them
/// belongs to the user who runs kiln.
#[derive(Debug)]
pub(crate) struct MappedIds {
    uids: Vec<RangeInclusive<u32>>,
    gids: Vec<RangeInclusive<u32>>,
    own: (u32, u32),
}

impl MappedIds {
    /// Returns which ids this process may give to files: the kernel is asked once, since it moves
    /// to no other user namespace once it has layers.
    pub(crate) fn of_this_process() -> &'static Self {
        static MAPPED: OnceLock<MappedIds> = OnceLock::new();
        MAPPED.get_or_init(Self::ask)
    }

    fn ask() -> Self {
        let own = (
            rustix::process::geteuid().as_raw(),
            rustix::process::getegid().as_raw(),
        );
        // Only root, here or in the user namespace, may give files away.
        let mapped = |file: &str| match own.0 {
            0 => parse(&fs::read_to_string(file).unwrap_or_default()),
            _ => Vec::new(),
        };
        Self {
            uids: mapped("/proc/self/uid_map"),
            gids: mapped("/proc/self/gid_map"),
            own,
        }
    }

    fn has_uid(&self, uid: u32) -> bool {
        self.uids.iter().any(|range| range.contains(&uid))
    }

    fn has_gid(&self, gid: u32) -> bool {
        self.gids.iter().any(|range| range.contains(&gid))
    }

    /// Says whether files can have these owners.
    pub(crate) fn can_store(&self, uid: u32, gid: u32) -> bool {
        (uid, gid) == self.own || (self.has_uid(uid) && self.has_gid(gid))
    }

    /// Says whether files can have all owners that an index has.
    pub(crate) fn can_store_all(&self, tree: &Tree) -> bool {
        self.are_all()
            || tree
                .iter()
                .all(|entry| self.can_store(entry.uid, entry.gid))
    }

    /// Says whether there is no owner that files cannot have.
    pub(crate) fn are_all(&self) -> bool {
        let all = |ranges: &[RangeInclusive<u32>]| {
            // The last number is no id. (chown(2))
            ranges
                .iter()
                .any(|range| range.contains(&0) && range.contains(&(u32::MAX - 1)))
        };
        all(&self.uids) && all(&self.gids)
    }

    /// Says whether a user of the index and one that the disk shows may be the same. A user without
    /// an id here is shown as the one who stored the file, or as the overflow id.
    pub(crate) fn may_be_uid(&self, uid: u32, on_disk: u32) -> bool {
        if self.has_uid(uid) {
            uid == on_disk
        } else {
            on_disk == self.own.0 || !self.has_uid(on_disk)
        }
    }

    /// As [`MappedIds::may_be_uid`], of groups.
    pub(crate) fn may_be_gid(&self, gid: u32, on_disk: u32) -> bool {
        if self.has_gid(gid) {
            gid == on_disk
        } else {
            on_disk == self.own.1 || !self.has_gid(on_disk)
        }
    }

    /// Refuses owners that a root cannot show.
    pub(crate) fn check(
        &self,
        (uid, gid): (u32, u32),
        path: impl FnOnce() -> GuestPath,
    ) -> Result<(), LayerError> {
        let (whose, id) = match (self.has_uid(uid), self.has_gid(gid)) {
            (true, true) => return Ok(()),
            // A process that is not root here mounts nothing.
            _ if self.own.0 != 0 => return Ok(()),
            (false, _) => ("user", uid),
            (true, false) => ("group", gid),
        };
        let ranges = match whose {
            "user" => &self.uids,
            _ => &self.gids,
        };
        Err(LayerError::Owner {
            path: path(),
            whose,
            id,
            ids: ranges.iter().map(words).collect::<Vec<_>>().join(", "),
        })
    }
}

fn words(range: &RangeInclusive<u32>) -> String {
    if range.start() == range.end() {
        range.start().to_string()
    } else {
        format!("{} to {}", range.start(), range.end())
    }
}

/// Lines of `inside outside count` (user_namespaces(7)).
fn parse(map: &str) -> Vec<RangeInclusive<u32>> {
    map.lines()
        .filter_map(|line| {
            let mut fields = line.split_whitespace().map(str::parse::<u32>);
            let inside = fields.next()?.ok()?;
            let count = fields.nth(1)?.ok()?;
            Some(inside..=inside.saturating_add(count.checked_sub(1)?))
        })
        .collect()
}

/// Marks a layer that is put together in `directory`: its files have not the owners of the index.
pub(crate) fn mark(directory: &Path) -> Result<(), LayerError> {
    let mark = directory.join(MARK);
    File::create(&mark).map(drop).map_err(LayerError::at(&mark))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owners() -> MappedIds {
        let map = parse("         0       1000          1\n         1     100000      65535\n");
        assert_eq!(map, [0..=0, 1..=65535]);
        MappedIds {
            uids: map,
            gids: parse("0 0 4294967295"),
            own: (0, 0),
        }
    }

    #[test]
    fn unmapped_owners_look_like_the_process_or_the_overflow_id() {
        let owners = owners();
        assert!(owners.may_be_uid(65_535, 65_535) && !owners.may_be_uid(65_535, 0));
        assert!(owners.may_be_uid(65_536, 0) && !owners.may_be_uid(65_536, 33));
        assert!(owners.may_be_gid(4_000_000_000, 4_000_000_000));
        let all_groups = owners.may_be_gid(0, 7);
        assert!(!all_groups, "each group has an id of its own");
        let few = MappedIds {
            uids: Vec::new(),
            gids: parse("0 1000 10"),
            own: (0, 5),
        };
        assert!(few.may_be_gid(70, 5) && few.may_be_gid(70, 65_534) && !few.may_be_gid(70, 6));
        assert!(owners.can_store(33, 33) && !owners.can_store(65_536, 33));
        assert!(!owners.are_all());
    }

    #[test]
    fn an_owner_that_a_root_cannot_show_is_refused_by_name() {
        let path = || GuestPath::new("/home/me");
        assert!(owners().check((7, 70_000), path).is_ok());
        let error = owners().check((70_000, 7), path);
        assert_eq!(
            error.unwrap_err().to_string(),
            "/home/me belongs to user 70000, but there are only the ids 0, 1 to 65535 here; give \
             your user more of them in /etc/subuid and /etc/subgid (usermod --add-subuids and \
             --add-subgids, and the package uidmap)"
        );
    }
}
