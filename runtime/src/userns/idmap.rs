//! Which ids exist in a user namespace.

use std::fmt::Write as _;
use std::fs;

/// Ids of a user namespace and what they are outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdRange {
    /// The first id inside.
    pub inside: u32,
    /// The first id outside.
    pub outside: u32,
    /// How many.
    pub count: u32,
}

/// All ids of one kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IdMap(Vec<IdRange>);

impl IdMap {
    /// Parses the text of `/proc/<pid>/uid_map`.
    fn parse(text: &str) -> Self {
        let ranges = text.lines().filter_map(|line| {
            let mut numbers = line.split_ascii_whitespace().map(str::parse);
            let mut next = || numbers.next()?.ok();
            Some(IdRange {
                inside: next()?,
                outside: next()?,
                count: next()?,
            })
        });
        Self(ranges.collect())
    }

    /// Returns the ranges.
    #[must_use]
    pub fn ranges(&self) -> &[IdRange] {
        &self.0
    }

    /// Says whether an id exists inside.
    #[must_use]
    pub fn contains(&self, id: u32) -> bool {
        self.0
            .iter()
            .any(|range| id >= range.inside && id - range.inside < range.count)
    }
}

/// Writes ranges the way the kernel reads them.
pub(super) fn to_text(ranges: &[IdRange]) -> String {
    let mut text = String::new();
    for range in ranges {
        let IdRange {
            inside,
            outside,
            count,
        } = range;
        writeln!(text, "{inside} {outside} {count}").expect("writing to a string does not fail");
    }
    text
}

/// The ids of the user namespace this process is in.
#[derive(Clone, Debug)]
pub struct IdMaps {
    users: IdMap,
    groups: IdMap,
    may_set_groups: bool,
}

impl IdMaps {
    /// Reads the maps of this process.
    #[must_use]
    pub fn of_this_process() -> Self {
        let read = |name: &str| fs::read_to_string(format!("/proc/self/{name}"));
        Self {
            users: IdMap::parse(&read("uid_map").unwrap_or_default()),
            groups: IdMap::parse(&read("gid_map").unwrap_or_default()),
            may_set_groups: read("setgroups").map_or(true, |text| text.trim() != "deny"),
        }
    }

    /// Returns the user ids.
    #[must_use]
    pub fn users(&self) -> &IdMap {
        &self.users
    }

    /// Returns the group ids.
    #[must_use]
    pub fn groups(&self) -> &IdMap {
        &self.groups
    }

    /// Says whether a user id exists.
    #[must_use]
    pub fn has_user(&self, id: u32) -> bool {
        self.users.contains(id)
    }

    /// Says whether a group id exists.
    #[must_use]
    pub fn has_group(&self, id: u32) -> bool {
        self.groups.contains(id)
    }

    /// Says whether supplementary groups can be set at all.
    #[must_use]
    pub fn may_set_groups(&self) -> bool {
        self.may_set_groups
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_ids_in_several_ranges() {
        let map =
            IdMap::parse("         0       1000          1\n         1     100000      65536\n");
        assert_eq!(map.ranges().len(), 2);
        assert!(map.contains(0) && map.contains(1) && map.contains(65536));
        assert!(!map.contains(65537));
        assert_eq!(IdMap::parse(&to_text(map.ranges())), map);
    }

    #[test]
    fn the_initial_namespace_has_all_ids() {
        let map = IdMap::parse("         0          0 4294967295\n");
        assert!(map.contains(0) && map.contains(4_294_967_294));
    }
}
