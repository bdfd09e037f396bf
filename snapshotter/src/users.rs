//! Names of users and groups, looked up in the root's own /etc/passwd and /etc/group.

use kiln_files::GuestPath;

use crate::view::{ParentView, ViewError};

/// Bytes. Directories of thousands of accounts stay below; anything larger is not a passwd file.
const LONGEST_FILE: u64 = 16 << 20;

/// The largest id that OCI runtimes take. (runc: libcontainer/user, `maxID`)
const LARGEST_ID: u32 = i32::MAX as u32;

/// Why a user is not known.
#[derive(Debug, thiserror::Error)]
pub enum UserError {
    /// No such user.
    #[error("unable to find user {}: no matching entries in passwd file", .0.escape_debug())]
    UnknownUser(String),
    /// No such group.
    #[error("unable to find group {}: no matching entries in group file", .0.escape_debug())]
    UnknownGroup(String),
    /// A number beyond what ids may be.
    #[error("uids and gids must be in range 0-{LARGEST_ID}, not {0}")]
    OutOfRange(u64),
    /// The files cannot be read.
    #[error(transparent)]
    View(#[from] ViewError),
}

/// Whom a process runs as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// User.
    pub uid: u32,
    /// Primary group.
    pub gid: u32,
    /// Further groups, in the order of the file.
    pub groups: Vec<u32>,
    /// Home directory, `/` if the user has no entry.
    pub home: GuestPath,
}

/// Whom a file belongs to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Owner {
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// Finds the user of a RUN: `user`, `uid`, `user:group` and so on; empty for none given.
///
/// A number is an id whatever the files say, but its entry tells group and home. Further groups
/// count only where no group is given. With no user given, root needs no entry.
///
/// # Errors
/// [`UserError::UnknownUser`] and [`UserError::UnknownGroup`]; when the files cannot be read.
// docs/spec/dockerfile.md 6, USER; runc: libcontainer/user, GetExecUser.
pub fn find_identity(view: &ParentView, text: &str) -> Result<Identity, UserError> {
    let (user, group) = split(text);
    let passwd = read(view, "etc/passwd")?;
    let number = parse_id(user.unwrap_or("0"))?;
    let account = passwd
        .lines()
        .filter_map(PasswdLine::parse)
        .find(|account| match number {
            Some(number) => account.uid == number,
            None => Some(account.name) == user,
        });
    let mut identity = match (&account, number) {
        (Some(account), _) => Identity {
            uid: account.uid,
            gid: account.gid,
            groups: Vec::new(),
            home: GuestPath::new(account.home),
        },
        (None, Some(uid)) => Identity {
            uid,
            gid: 0,
            groups: Vec::new(),
            home: GuestPath::ROOT,
        },
        (None, None) => return Err(UserError::UnknownUser(user.unwrap_or_default().to_owned())),
    };
    match group {
        Some(group) => identity.gid = find_group(view, group)?,
        None => {
            if let Some(account) = account {
                let groups = read(view, "etc/group")?;
                identity.groups = groups
                    .lines()
                    .filter_map(GroupLine::parse)
                    .filter(|group| group.members().any(|member| member == account.name))
                    .map(|group| group.gid)
                    .collect();
            }
        }
    }
    Ok(identity)
}

/// Finds the owner that `--chown` names: `user`, `user:group`, `:group`, names or numbers.
///
/// A user alone brings the primary group of its entry, a number alone is the group as well.
/// An unknown user becomes 0, and instead of an unknown group that of the user counts, as BuildKit
/// has it.
///
/// # Errors
/// When a number is too large or the files cannot be read.
// docs/spec/dockerfile.md 7.3.
pub fn find_owner(view: &ParentView, text: &str) -> Result<Owner, UserError> {
    let (user, group) = split(text);
    let mut owner = match user {
        None | Some("root") => Owner::default(),
        Some(user) => match parse_id(user)? {
            Some(id) => Owner { uid: id, gid: id },
            None => read(view, "etc/passwd")?
                .lines()
                .filter_map(PasswdLine::parse)
                .find(|account| account.name == user)
                .map(|account| Owner {
                    uid: account.uid,
                    gid: account.gid,
                })
                .unwrap_or_default(),
        },
    };
    match group {
        None => {}
        Some("root") => owner.gid = 0,
        Some(group) => match find_group(view, group) {
            Ok(gid) => owner.gid = gid,
            // That of the user stays.
            Err(UserError::UnknownGroup(_)) => {}
            Err(error) => return Err(error),
        },
    }
    Ok(owner)
}

/// Returns the home directory that a user id has, `/` if it has no entry.
///
/// # Errors
/// When the file cannot be read.
pub fn find_home(view: &ParentView, uid: u32) -> Result<GuestPath, UserError> {
    Ok(read(view, "etc/passwd")?
        .lines()
        .filter_map(PasswdLine::parse)
        .find(|account| account.uid == uid)
        .map(|account| GuestPath::new(account.home))
        .unwrap_or_default())
}

fn find_group(view: &ParentView, group: &str) -> Result<u32, UserError> {
    if let Some(gid) = parse_id(group)? {
        return Ok(gid);
    }
    read(view, "etc/group")?
        .lines()
        .filter_map(GroupLine::parse)
        .find(|entry| entry.name == group)
        .map(|entry| entry.gid)
        .ok_or_else(|| UserError::UnknownGroup(group.to_owned()))
}

/// Splits at the first colon; what is empty was not given.
fn split(text: &str) -> (Option<&str>, Option<&str>) {
    let given = |part: &'_ str| (!part.is_empty()).then_some(());
    let (user, group) = text.split_once(':').unwrap_or((text, ""));
    (given(user).map(|()| user), given(group).map(|()| group))
}

fn parse_id(text: &str) -> Result<Option<u32>, UserError> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(None);
    }
    let number = text.parse().unwrap_or(u64::MAX);
    match u32::try_from(number) {
        Ok(id) if id <= LARGEST_ID => Ok(Some(id)),
        _ => Err(UserError::OutOfRange(number)),
    }
}

/// Reads one of the files; a root without it has no entries. Bytes that are not UTF-8 are
/// replaced: they can only be in fields that kiln does not use.
fn read(view: &ParentView, path: &str) -> Result<String, UserError> {
    match view.read(&GuestPath::new(path), LONGEST_FILE) {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned()),
        Err(ViewError::NotFile(_) | ViewError::NotDirectory(_) | ViewError::Loop(_)) => {
            Ok(String::new())
        }
        Err(error) => Err(error.into()),
    }
}

/// A line of /etc/passwd: `name:password:uid:gid:comment:home:shell`.
struct PasswdLine<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

impl<'a> PasswdLine<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let mut fields = line.trim().split(':');
        let name = fields.next().filter(|name| is_name(name))?;
        let mut fields = fields.skip(1);
        Some(Self {
            name,
            uid: id(fields.next()?)?,
            gid: id(fields.next()?)?,
            home: fields.nth(1).unwrap_or("/"),
        })
    }
}

/// A line of /etc/group: `name:password:gid:member,member`.
struct GroupLine<'a> {
    name: &'a str,
    gid: u32,
    members: &'a str,
}

impl<'a> GroupLine<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let mut fields = line.trim().split(':');
        let name = fields.next().filter(|name| is_name(name))?;
        let mut fields = fields.skip(1);
        Some(Self {
            name,
            gid: id(fields.next()?)?,
            members: fields.next().unwrap_or(""),
        })
    }

    fn members(&self) -> impl Iterator<Item = &'a str> {
        self.members.split(',').map(str::trim)
    }
}

/// The largest number is no id: it tells setuid(2) and chown(2) to change nothing.
fn id(text: &str) -> Option<u32> {
    text.parse().ok().filter(|id| *id != u32::MAX)
}

/// Comments and NIS lines are not entries.
fn is_name(name: &str) -> bool {
    !name.is_empty() && !name.starts_with(['#', '+', '-'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_number_is_no_id() {
        assert!(PasswdLine::parse("a:x:4294967294:4294967294::/").is_some());
        assert!(PasswdLine::parse("a:x:4294967295:0::/").is_none());
        assert!(PasswdLine::parse("a:x:0:4294967295::/").is_none());
        assert!(GroupLine::parse("a:x:4294967295:").is_none());
    }

    #[test]
    fn names_do_not_go_on_in_a_line_of_their_own() {
        let name = || "a\nhint: \x1b[2J".to_owned();
        for error in [
            UserError::UnknownUser(name()),
            UserError::UnknownGroup(name()),
        ] {
            let text = error.to_string();
            assert!(text.contains(r"a\nhint: \u{1b}[2J"), "{text}");
            assert!(!text.contains(char::is_control), "{text}");
        }
    }
}
