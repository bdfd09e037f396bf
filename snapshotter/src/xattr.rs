//! Which extended attributes belong to a layer, and in which form.

use std::io;
use std::os::fd::BorrowedFd;

use kiln_tree::XattrsBuf;
use rustix::fs::{fgetxattr, flistxattr};
use rustix::io::Errno;

/// File capabilities.
const CAPABILITY: &[u8] = b"security.capability";

/// Says whether a layer records an attribute.
///
/// Users' own and file capabilities; not what belongs to one host (SELinux, IMA, ACLs, whose ids
/// would have to be translated) and not overlayfs's marks. (docs/spec/oci.md 5)
pub(crate) fn is_recorded(name: &[u8]) -> bool {
    name == CAPABILITY || (name.starts_with(b"user.") && !name.starts_with(b"user.overlay."))
}

/// Returns a value in the form that does not depend on who wrote it.
///
/// In a user namespace the kernel stores capabilities as version 3, which adds the namespace's
/// root to version 2 (capabilities(7), "File capability extended attribute versioning").
pub(crate) fn normalized(name: &[u8], value: Vec<u8>) -> Vec<u8> {
    const VERSION_MASK: u32 = 0xff00_0000;
    const VERSION_2: u32 = 0x0200_0000;
    const VERSION_3: u32 = 0x0300_0000;
    const VERSION_2_LENGTH: usize = 20;
    let Some(magic) = value.first_chunk().copied().map(u32::from_le_bytes) else {
        return value;
    };
    if name != CAPABILITY || magic & VERSION_MASK != VERSION_3 || value.len() < VERSION_2_LENGTH {
        return value;
    }
    let magic = magic & !VERSION_MASK | VERSION_2;
    let mut version_2 = value;
    version_2.truncate(VERSION_2_LENGTH);
    version_2[..4].copy_from_slice(&magic.to_le_bytes());
    version_2
}

/// The attributes of an open file.
#[derive(Debug, Default)]
pub(crate) struct FoundXattrs {
    /// What a layer records.
    pub(crate) recorded: XattrsBuf,
    /// Whether overlayfs takes it for an opaque directory.
    pub(crate) opaque: bool,
}

/// Reads the extended attributes of an open file.
pub(crate) fn read(file: BorrowedFd<'_>) -> io::Result<FoundXattrs> {
    let mut names = Vec::new();
    loop {
        names.resize(names.len().max(256) * 2, 0_u8);
        match flistxattr(file, &mut *names) {
            Ok(length) => {
                names.truncate(length);
                break;
            }
            Err(Errno::RANGE) if names.len() < 1 << 17 => {}
            Err(Errno::OPNOTSUPP) => return Ok(FoundXattrs::default()),
            Err(error) => return Err(error.into()),
        }
    }
    if names.is_empty() {
        return Ok(FoundXattrs::default());
    }
    let mut found = FoundXattrs::default();
    let mut pairs = Vec::new();
    for name in names
        .split(|&byte| byte == 0)
        .filter(|name| !name.is_empty())
    {
        if name == crate::disk::OPAQUE.as_bytes() {
            found.opaque = value_of(file, name)? == b"y";
        } else if is_recorded(name) {
            pairs.push((name.to_vec(), normalized(name, value_of(file, name)?)));
        }
    }
    found.recorded = XattrsBuf::new(pairs);
    Ok(found)
}

fn value_of(file: BorrowedFd<'_>, name: &[u8]) -> io::Result<Vec<u8>> {
    let mut value = vec![0_u8; 256];
    loop {
        match fgetxattr(file, name, &mut *value) {
            Ok(length) => {
                value.truncate(length);
                return Ok(value);
            }
            // The longest value the kernel stores is 64 KiB.
            Err(Errno::RANGE) if value.len() < 1 << 16 => value.resize(1 << 16, 0),
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_lose_the_namespace_that_set_them() {
        let version_2 = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let mut version_3 = version_2.to_vec();
        version_3[3] = 3;
        version_3.extend_from_slice(&1000_u32.to_le_bytes());
        assert_eq!(normalized(CAPABILITY, version_3.clone()), version_2);
        assert_eq!(normalized(CAPABILITY, version_2.to_vec()), version_2);
        assert_eq!(normalized(b"user.x", version_3.clone()), version_3);
    }

    #[test]
    fn hosts_attributes_stay_on_the_host() {
        for (name, recorded) in [
            ("user.note", true),
            ("security.capability", true),
            ("user.overlay.origin", false),
            ("trusted.overlay.opaque", false),
            ("security.selinux", false),
            ("system.posix_acl_access", false),
        ] {
            assert_eq!(is_recorded(name.as_bytes()), recorded, "{name}");
        }
    }
}
