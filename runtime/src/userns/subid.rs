//! `/etc/subuid` and `/etc/subgid`: ranges of ids that a user may use (subuid(5)).

use super::idmap::IdRange;

/// Finds the name of a user id in the text of `/etc/passwd`.
pub(super) fn user_name(passwd: &[u8], uid: u32) -> Option<String> {
    let uid = uid.to_string();
    passwd.split(|&byte| byte == b'\n').find_map(|line| {
        let mut fields = line.split(|&byte| byte == b':');
        let name = fields.next()?;
        (fields.nth(1)? == uid.as_bytes()).then(|| String::from_utf8_lossy(name).into_owned())
    })
}

/// Finds the `(start, count)` ranges of a user, entered by name or by number.
pub(super) fn ranges(table: &[u8], name: Option<&str>, uid: u32) -> Vec<(u32, u32)> {
    let uid = uid.to_string();
    let mut found = Vec::new();
    for line in String::from_utf8_lossy(table).lines() {
        let mut fields = line.trim().split(':');
        let (Some(owner), Some(start), Some(count)) = (fields.next(), fields.next(), fields.next())
        else {
            continue;
        };
        if Some(owner) != name && owner != uid {
            continue;
        }
        let (Ok(start), Ok(count)) = (start.parse::<u32>(), count.parse::<u32>()) else {
            continue;
        };
        if count > 0 && start.checked_add(count).is_some() {
            found.push((start, count));
        }
    }
    found
}

/// Maps 0 to the user and the ranges, one after the other, to 1 and up.
pub(super) fn map(own: u32, ranges: &[(u32, u32)]) -> Vec<IdRange> {
    let mut map = vec![IdRange {
        inside: 0,
        outside: own,
        count: 1,
    }];
    let mut inside = 1_u32;
    for &(outside, count) in ranges {
        let Some(next) = inside.checked_add(count) else {
            break;
        };
        map.push(IdRange {
            inside,
            outside,
            count,
        });
        inside = next;
    }
    map
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_from_passwd() {
        let passwd = b"root:x:0:0:root:/root:/bin/sh\nada:x:1000:1000::/home/ada:/bin/sh\nbroken\n";
        assert_eq!(user_name(passwd, 1000).as_deref(), Some("ada"));
        assert_eq!(user_name(passwd, 7), None);
    }

    #[test]
    fn ranges_belong_to_names_or_numbers() {
        let table = b"# comment\nada:100000:65536\nbob:165536:65536\n1000:300000:10\nada:x:1\n\
                      ada:1:0\nada:4294967295:5\n";
        assert_eq!(
            ranges(table, Some("ada"), 1000),
            [(100_000, 65536), (300_000, 10)]
        );
        assert_eq!(ranges(table, None, 1000), [(300_000, 10)]);
        assert_eq!(ranges(table, Some("eve"), 7), []);
    }

    #[test]
    fn maps_are_contiguous_inside() {
        let map = map(1000, &[(100_000, 65536), (300_000, 10)]);
        let triples: Vec<_> = map.iter().map(|r| (r.inside, r.outside, r.count)).collect();
        assert_eq!(
            triples,
            [(0, 1000, 1), (1, 100_000, 65536), (65537, 300_000, 10)]
        );
    }
}
