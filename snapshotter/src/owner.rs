//! Which owners the disk can hold.

use std::fs;
use std::ops::RangeInclusive;

/// Tells how an owner of the index looks on disk: as itself if this process can store it, else as
/// whoever runs kiln.
#[derive(Debug)]
pub(crate) struct Owners {
    uids: Vec<RangeInclusive<u32>>,
    gids: Vec<RangeInclusive<u32>>,
    own: (u32, u32),
}

impl Owners {
    /// Asks the kernel which ids this process may give to files.
    pub(crate) fn of_this_process() -> Self {
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

    /// Returns the user that a file of the index's user `uid` has on disk.
    pub(crate) fn uid_on_disk(&self, uid: u32) -> u32 {
        match self.uids.iter().any(|range| range.contains(&uid)) {
            true => uid,
            false => self.own.0,
        }
    }

    /// Returns the group that a file of the index's group `gid` has on disk.
    pub(crate) fn gid_on_disk(&self, gid: u32) -> u32 {
        match self.gids.iter().any(|range| range.contains(&gid)) {
            true => gid,
            false => self.own.1,
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unmapped_owners_look_like_oneself() {
        let map = parse("         0       1000          1\n         1     100000      65535\n");
        let owners = Owners {
            uids: map.clone(),
            gids: parse("0 0 4294967295"),
            own: (0, 0),
        };
        assert_eq!(map, [0..=0, 1..=65535]);
        assert_eq!(owners.uid_on_disk(65_535), 65_535);
        assert_eq!(owners.uid_on_disk(65_536), 0);
        assert_eq!(owners.gid_on_disk(4_000_000_000), 4_000_000_000);
    }
}
