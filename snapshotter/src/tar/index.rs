//! Positions of the members of an archive, for reading some of them, in any order.

use std::fs::File;
use std::io::{self, Seek as _, SeekFrom};

use crate::tar::member::MemberKind;
use crate::tar::read::{TarError, TarReader};
use crate::unpack_limit::{Meter, UnpackLimit};

/// Bytes. What is kept in memory about all members; enough for half a million of them.
const LARGEST_INDEX: usize = 64 << 20;

/// Bytes that a member takes in memory besides its names.
const OVERHEAD: usize = 128;

/// A member of an archive, by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TarMember {
    /// As written: may be absolute, or contain `..`.
    pub path: Vec<u8>,
    /// What it is.
    pub place: TarPlace,
}

/// The place of the bytes of a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TarPlace {
    /// Here.
    Bytes {
        /// The first one's position in the archive.
        start: u64,
        /// How many there are.
        size_bytes: u64,
    },
    /// In the member that a symbolic link leads to, as written.
    Symlink(Vec<u8>),
    /// In the member of this name.
    HardLink(Vec<u8>),
}

/// Returns the files and links of a tar. Directories are left out, and so are devices, pipes and
/// files with holes, whose bytes do not lie there in one piece.
///
/// # Errors
/// When it is no tar, ends early, or has so many members, or with such long names, that no archive of
/// images looks like that.
pub fn index_tar(file: &File) -> Result<Vec<TarMember>, TarError> {
    let length = file.metadata().map_err(TarError::Read)?.len();
    let mut archive = TarReader::new(file, &Meter::new(UnpackLimit::NONE));
    (&*file).rewind().map_err(TarError::Read)?;
    let mut members = Vec::new();
    let mut index_bytes = 0_usize;
    while let Some(member) = archive.next()? {
        let link_bytes = match &member.kind {
            MemberKind::Symlink(link) | MemberKind::HardLink(link) => link.len(),
            _ => 0,
        };
        index_bytes += OVERHEAD + member.path.len() + link_bytes;
        if index_bytes > LARGEST_INDEX {
            return Err(TarError::Header {
                offset: archive.offset(),
                problem: "there are more members than archives of images have",
            });
        }
        let place = match member.kind {
            MemberKind::File if archive.is_in_one_piece() => TarPlace::Bytes {
                start: archive.offset(),
                size_bytes: member.size,
            },
            MemberKind::Symlink(link) => TarPlace::Symlink(link),
            MemberKind::HardLink(link) => TarPlace::HardLink(link),
            _ => continue,
        };
        archive.leap(length)?;
        members.push(TarMember {
            path: member.path,
            place,
        });
    }
    Ok(members)
}

impl TarReader<&File> {
    /// Goes to the end of the present member without reading it.
    fn leap(&mut self, length: u64) -> Result<(), TarError> {
        let end = self.offset().checked_add(self.take_left());
        let end = end.filter(|end| *end <= length);
        let end = end.ok_or_else(|| TarError::Read(io::ErrorKind::UnexpectedEof.into()))?;
        self.go_to(end, |file, end| file.seek(SeekFrom::Start(end)).map(drop))
            .map_err(TarError::Read)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn index(bytes: &[u8]) -> Result<Vec<TarMember>, TarError> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        index_tar(&file)
    }

    fn archive(append: impl FnOnce(&mut tar::Builder<Vec<u8>>)) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        append(&mut builder);
        builder.into_inner().unwrap()
    }

    fn header(kind: tar::EntryType, size: u64) -> tar::Header {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(size);
        header.set_mode(0o644);
        header.set_cksum();
        header
    }

    #[test]
    fn members_are_found_where_they_are() {
        let long = "d/".repeat(100) + "name";
        let bytes = archive(|builder| {
            let file = tar::EntryType::Regular;
            let data = |builder: &mut tar::Builder<Vec<u8>>, name: &str, bytes: &[u8]| {
                let mut header = header(file, bytes.len() as u64);
                builder.append_data(&mut header, name, bytes).unwrap();
            };
            data(builder, "a", &[b'1'; 700]);
            let mut directory = header(tar::EntryType::Directory, 0);
            builder.append_data(&mut directory, "d", &b""[..]).unwrap();
            data(builder, &long, b"22");
            let mut link = header(tar::EntryType::Symlink, 0);
            builder.append_link(&mut link, "s", "../a").unwrap();
            let mut link = header(tar::EntryType::Link, 0);
            builder.append_link(&mut link, "h", "a").unwrap();
            data(builder, "empty", b"");
        });
        let found = index(&bytes).unwrap();
        let names: Vec<_> = found.iter().map(|member| &*member.path).collect();
        assert_eq!(names, [&b"a"[..], long.as_bytes(), b"s", b"h", b"empty"]);
        let content = |position: usize| match &found[position].place {
            TarPlace::Bytes { start, size_bytes } => {
                let start = usize::try_from(*start).unwrap();
                &bytes[start..start + usize::try_from(*size_bytes).unwrap()]
            }
            other => panic!("{other:?}"),
        };
        assert_eq!(content(0), [b'1'; 700]);
        assert_eq!(content(1), b"22");
        assert_eq!(content(4), b"");
        assert_eq!(found[2].place, TarPlace::Symlink(b"../a".to_vec()));
        assert_eq!(found[3].place, TarPlace::HardLink(b"a".to_vec()));
    }

    #[test]
    fn an_archive_that_ends_early_is_an_error() {
        let mut bytes = header(tar::EntryType::Regular, 5000).as_bytes().to_vec();
        bytes.extend([b'x'; 1000]);
        assert!(matches!(index(&bytes), Err(TarError::Read(_))));
    }

    /// The header of a name of two gibibytes once had them taken into memory, and that of many long
    /// ones the sum of them.
    #[test]
    fn names_have_an_end() {
        for kind in [tar::EntryType::GNULongName, tar::EntryType::XHeader] {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(header(kind, 2 << 30).as_bytes()).unwrap();
            file.set_len(3 << 30).unwrap();
            let error = index_tar(&file).unwrap_err().to_string();
            assert!(error.contains("extension header is too long"), "{error}");
        }
        let name = "n".repeat(1 << 20);
        let many = archive(|builder| {
            for _ in 0..80 {
                let long = header(tar::EntryType::GNULongName, name.len() as u64);
                builder.append(&long, name.as_bytes()).unwrap();
                let file = header(tar::EntryType::Regular, 0);
                builder.append(&file, &b""[..]).unwrap();
            }
        });
        let error = index(&many).unwrap_err().to_string();
        assert!(error.contains("more members"), "{error}");
    }
}
