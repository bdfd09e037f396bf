//! A root file system as one tar, `--output type=tar`: what a container would see, as an archive.
//!
//! Owners, modes and attributes are those of the image; there are no whiteouts. Headers are ustar,
//! with PAX records for what does not fit, so that every tar program reads it.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt as _;

use kiln_files::GuestPath;
use kiln_oci::Timestamp;
use kiln_snapshotter::Located;
use kiln_tree::{Entry, NodeKind};
use tar::{Builder, EntryType, Header};

use crate::error::ExportError;
use crate::roots::{ExportRoot, check_overlaps};

/// Writes root file systems as one tar stream, all with modification time `times` if it is given.
///
/// # Errors
/// When roots overlap, a file cannot be read or `output` fails.
pub fn write_root_tar(
    roots: &[ExportRoot<'_>],
    times: Option<Timestamp>,
    output: &mut dyn Write,
) -> Result<(), ExportError> {
    check_overlaps(roots)?;
    let mut builder = Builder::new(output);
    // Directories that roots have in common are written once.
    let mut directories: HashSet<GuestPath> = HashSet::new();
    let at = |entry: Entry<'_>| times.unwrap_or(entry.mtime);
    for root in roots {
        if !root.directory.is_root()
            && let Some(top) = root.view.get(&GuestPath::ROOT)
        {
            let path = [root.directory.as_bytes(), b"/"].concat();
            let mtime = at(top);
            write_header(&mut builder, &path, &Entry { mtime, ..top }, b"", 0)?;
        }
        for mut located in root.view.walk(&GuestPath::ROOT) {
            let is_directory = matches!(located.entry.kind, NodeKind::Directory { .. });
            if roots.len() > 1
                && is_directory
                && !directories.insert(root.directory.join(located.entry.path))
            {
                continue;
            }
            located.entry.mtime = at(located.entry);
            write_entry(&mut builder, root, &located)?;
        }
    }
    builder.finish().map_err(ExportError::Output)
}

fn write_entry(
    builder: &mut Builder<&mut dyn Write>,
    root: &ExportRoot<'_>,
    located: &Located<'_>,
) -> Result<(), ExportError> {
    let entry = &located.entry;
    let place = |path: &[u8]| root.directory.join(path).as_bytes().to_vec();
    let mut path = place(entry.path);
    match entry.kind {
        NodeKind::File { size, .. } => {
            write_header(builder, &path, entry, b"", size)?;
            let mut file = root.view.open(located)?;
            let output = builder.get_mut();
            let copied = io::copy(&mut file, output).map_err(ExportError::Output)?;
            if copied != size {
                return Err(ExportError::Changed(entry.guest_path()));
            }
            let over = usize::try_from(size % 512).expect("below a block");
            output
                .write_all(&[0; 512][..(512 - over) % 512])
                .map_err(ExportError::Output)
        }
        NodeKind::HardLink { target } => write_header(builder, &path, entry, &place(target), 0),
        NodeKind::Symlink { target } => write_header(builder, &path, entry, target, 0),
        NodeKind::Directory { .. } => {
            path.push(b'/');
            write_header(builder, &path, entry, b"", 0)
        }
        NodeKind::CharDevice(_) | NodeKind::BlockDevice(_) | NodeKind::Fifo => {
            write_header(builder, &path, entry, b"", 0)
        }
        // A merged root has none.
        NodeKind::Whiteout => Ok(()),
    }
}

fn write_header(
    builder: &mut Builder<&mut dyn Write>,
    path: &[u8],
    entry: &Entry<'_>,
    link: &[u8],
    size: u64,
) -> Result<(), ExportError> {
    let mut records: Vec<(String, Vec<u8>)> = Vec::new();
    let mut header = Header::new_ustar();
    let (kind, device) = match entry.kind {
        NodeKind::File { .. } => (EntryType::Regular, None),
        NodeKind::HardLink { .. } => (EntryType::Link, None),
        NodeKind::Symlink { .. } => (EntryType::Symlink, None),
        NodeKind::Directory { .. } => (EntryType::Directory, None),
        NodeKind::CharDevice(device) => (EntryType::Char, Some(device)),
        NodeKind::BlockDevice(device) => (EntryType::Block, Some(device)),
        NodeKind::Fifo | NodeKind::Whiteout => (EntryType::Fifo, None),
    };
    header.set_entry_type(kind);
    header.set_mode(entry.mode.into());
    // Numbers beyond their field's octal digits go out in base 256, as GNU tar has them.
    header.set_uid(entry.uid.into());
    header.set_gid(entry.gid.into());
    header.set_size(size);
    match u64::try_from(entry.mtime.seconds) {
        Ok(seconds) => header.set_mtime(seconds),
        Err(_) => {
            header.set_mtime(0);
            let seconds = entry.mtime.seconds.to_string();
            records.push(("mtime".to_owned(), seconds.into_bytes()));
        }
    }
    let (major, minor) = device.map_or((0, 0), |device| (device.major, device.minor));
    header
        .set_device_major(major)
        .and_then(|()| header.set_device_minor(minor))
        .map_err(ExportError::Output)?;
    if header.set_path(OsStr::from_bytes(path)).is_err() {
        records.push(("path".to_owned(), path.to_vec()));
        let ustar = header.as_ustar_mut().expect("made as ustar");
        ustar.prefix = [0; 155];
        ustar.name.copy_from_slice(&path[..100]);
    }
    if !link.is_empty() && header.set_link_name_literal(link).is_err() {
        records.push(("linkpath".to_owned(), link.to_vec()));
        let ustar = header.as_ustar_mut().expect("made as ustar");
        ustar.linkname.copy_from_slice(&link[..100]);
    }
    // A hard link's attributes are its file's.
    if kind != EntryType::Link {
        for (name, value) in entry.xattrs.iter() {
            let name = String::from_utf8_lossy(name);
            records.push((format!("SCHILY.xattr.{name}"), value.to_vec()));
        }
    }
    header.set_cksum();
    let write = |builder: &mut Builder<&mut dyn Write>| -> io::Result<()> {
        if !records.is_empty() {
            let records = records
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_slice()));
            builder.append_pax_extensions(records)?;
        }
        builder.get_mut().write_all(header.as_bytes())
    };
    write(builder).map_err(ExportError::Output)
}
