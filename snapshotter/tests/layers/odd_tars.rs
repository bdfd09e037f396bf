//! Tars that no program would write, as layers.

use std::io::Write as _;

use kiln_oci::{DiffId, Sha256};
use kiln_snapshotter::{Layer, LayerStore, UnpackError};
use tar::{EntryType, Header};

/// A tar written member by member, as nobody sane would write it.
#[derive(Default)]
pub(crate) struct Tar(Vec<u8>);

impl Tar {
    pub(crate) fn member(
        mut self,
        kind: EntryType,
        name: &str,
        link: &str,
        content: &[u8],
    ) -> Self {
        let mut header = Header::new_ustar();
        let fields = header.as_ustar_mut().unwrap();
        fields.name[..name.len()].copy_from_slice(name.as_bytes());
        fields.linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(kind);
        let mode = if kind == EntryType::Directory {
            0o755
        } else {
            0o644
        };
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1_600_000_000);
        header.set_size(content.len() as u64);
        header.set_device_major(0).unwrap();
        header.set_device_minor(0).unwrap();
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self.data(content)
    }

    pub(crate) fn data(mut self, content: &[u8]) -> Self {
        self.0.extend_from_slice(content);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    pub(crate) fn file(self, name: &str, content: &str) -> Self {
        self.member(EntryType::Regular, name, "", content.as_bytes())
    }

    pub(crate) fn directory(self, name: &str) -> Self {
        self.member(EntryType::Directory, name, "", b"")
    }

    pub(crate) fn symlink(self, name: &str, target: &str) -> Self {
        self.member(EntryType::Symlink, name, target, b"")
    }

    pub(crate) fn hard_link(self, name: &str, target: &str) -> Self {
        self.member(EntryType::Link, name, target, b"")
    }

    pub(crate) fn pax(self, records: &[(&str, &[u8])]) -> Self {
        let mut data = Vec::new();
        for (key, value) in records {
            let rest = key.len() + value.len() + 3;
            let length = (rest..).find(|n| *n == rest + n.to_string().len()).unwrap();
            write!(data, "{length} {key}=").unwrap();
            data.extend_from_slice(value);
            data.push(b'\n');
        }
        self.member(EntryType::XHeader, "pax", "", &data)
    }

    pub(crate) fn end(mut self) -> Vec<u8> {
        self.0.extend_from_slice(&[0; 1024]);
        self.0
    }
}

pub(crate) fn apply(store: &LayerStore, tar: &[u8]) -> Result<Layer, UnpackError> {
    store.apply(tar, None, DiffId(Sha256::of(tar)))
}

/// Makes what looks like a header pass for one, so that damage gets further than the checksum.
pub(crate) fn repair_checksums(tar: &mut [u8]) {
    for block in tar.chunks_exact_mut(512) {
        if block[257..262] == *b"ustar" {
            let header = Header::from_byte_slice(block);
            let mut header = header.clone();
            header.set_cksum();
            block.copy_from_slice(header.as_bytes());
        }
    }
}
