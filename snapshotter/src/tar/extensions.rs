//! Extension headers, which describe the member that follows them.

use kiln_tree::Device;

use crate::tar::header::{id, narrow, parse_time};
use crate::tar::member::Record;
use crate::tar::member::{Member, MemberKind};

/// Extension headers about the next member.
#[derive(Default)]
pub(crate) struct Extensions {
    pub(crate) long_name: Option<Vec<u8>>,
    pub(crate) long_link: Option<Vec<u8>>,
    pub(crate) records: Vec<Record>,
}

impl Extensions {
    /// Puts what the extension headers say into a member.
    pub(crate) fn extend(&self, member: &mut Member) -> Result<(), &'static str> {
        for (key, value) in &self.records {
            let number = || {
                std::str::from_utf8(value)
                    .ok()
                    .and_then(|text| text.parse::<u64>().ok())
                    // As in Go: what is added to a number of 63 bits stays a number.
                    .filter(|number| i64::try_from(*number).is_ok())
                    .ok_or("invalid number in PAX records")
            };
            // An empty value takes the record back. (POSIX pax, "pax Extended Header")
            match key.as_slice() {
                _ if value.is_empty() && !key.starts_with(b"SCHILY.xattr.") => {}
                b"path" => member.path.clone_from(value),
                b"linkpath" => member.set_link(value),
                b"size" => member.size = number()?,
                b"uid" => member.uid = id(number()?)?,
                b"gid" => member.gid = id(number()?)?,
                b"mtime" => {
                    member.mtime = parse_time(value).ok_or("invalid time in PAX records")?;
                }
                b"SCHILY.devmajor" => member.set_device(|device| &mut device.major, number()?)?,
                b"SCHILY.devminor" => member.set_device(|device| &mut device.minor, number()?)?,
                _ => {
                    if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                        member.xattrs.push((name.to_vec(), value.clone()));
                    }
                }
            }
        }
        if let Some(name) = &self.long_name {
            member.path.clone_from(name);
        }
        if let Some(link) = &self.long_link {
            member.set_link(link);
        }
        let is_text = |bytes: &[u8]| !bytes.contains(&0);
        let link_is_text = match &member.kind {
            MemberKind::HardLink(link) | MemberKind::Symlink(link) => is_text(link),
            _ => true,
        };
        if is_text(&member.path) && link_is_text {
            Ok(())
        } else {
            Err("a name contains a zero byte")
        }
    }
}

impl Member {
    fn set_link(&mut self, target: &[u8]) {
        if let MemberKind::HardLink(link) | MemberKind::Symlink(link) = &mut self.kind {
            *link = target.to_vec();
        }
    }

    fn set_device(
        &mut self,
        part: impl Fn(&mut Device) -> &mut u32,
        number: u64,
    ) -> Result<(), &'static str> {
        if let MemberKind::CharDevice(device) | MemberKind::BlockDevice(device) = &mut self.kind {
            *part(device) = narrow(number)?;
        }
        Ok(())
    }
}
