//! Digests of what is read: what a copy's arguments select, and what a mount shows.

use kiln_files::GuestPath;
use kiln_tree::{Blake3, Encoder, Entry, NodeKind};

use super::choose::{Chosen, ChosenPart};
use super::select::{SelectedSource, missing};
use super::select_error::CopySelectError;
use crate::files::{Files, follow_hard_link, resolve_in};

/// Returns the digest of what a copy reads: everything that decides what it writes, except
/// modification times.
pub(crate) fn digest<'a>(files: &'a dyn Files, selected: &[SelectedSource<'a>]) -> Blake3 {
    let mut encoder = Encoder::new("kiln.selection.4");
    encoder.number(selected.len() as u64);
    for selection in selected {
        if selection.is_directory() {
            encoder.text("directory");
            let start = if selection.path.is_root() {
                0
            } else {
                selection.path.as_bytes().len() + 1
            };
            for Chosen { entry: child, part } in selection.children(files) {
                encoder.text(match part {
                    ChosenPart::Whole => "child",
                    ChosenPart::OnTheWay => "on the way",
                });
                encoder.bytes(&child.path[start..]);
                encode_node(&mut encoder, files, child);
                if let NodeKind::HardLink { target } = child.kind {
                    encode_first_name(&mut encoder, selected, target);
                }
            }
            encoder.text("end");
        } else if let Some(entry) = selection.entry {
            encoder.text("file").bytes(&selection.name);
            encode_node(&mut encoder, files, entry);
        }
    }
    encoder.finish()
}

/// Encodes which file a further name belongs to, as the place of its first name among what is
/// copied. Two names of one file are copied as such, so they must not have the digest of two equal
/// files.
fn encode_first_name(encoder: &mut Encoder, selected: &[SelectedSource<'_>], target: &[u8]) {
    let within = selected
        .iter()
        .enumerate()
        .find_map(|(position, selection)| {
            let path = selection.path.as_bytes();
            let inside = match path {
                b"" => target,
                _ => target.strip_prefix(path)?.strip_prefix(b"/")?,
            };
            selection.is_directory().then_some((position, inside))
        });
    match within {
        Some((position, inside)) => encoder
            .text("further name inside")
            .number(position as u64)
            .bytes(inside),
        None => encoder.text("further name").bytes(target),
    };
}

fn encode_node(encoder: &mut Encoder, files: &dyn Files, entry: Entry<'_>) {
    let entry = follow_hard_link(files, entry);
    encoder
        .number(u64::from(entry.mode))
        .number(u64::from(entry.uid))
        .number(u64::from(entry.gid));
    match entry.kind {
        NodeKind::File { size, hash } => encoder.text("file").number(size).value(&hash),
        NodeKind::HardLink { target } => encoder.text("link").bytes(target),
        NodeKind::Directory { .. } => encoder.text("directory"),
        NodeKind::Symlink { target } => encoder.text("symlink").bytes(target),
        NodeKind::CharDevice(device) => encoder
            .text("char")
            .number(u64::from(device.major))
            .number(u64::from(device.minor)),
        NodeKind::BlockDevice(device) => encoder
            .text("block")
            .number(u64::from(device.major))
            .number(u64::from(device.minor)),
        NodeKind::Fifo => encoder.text("fifo"),
        NodeKind::Whiteout => encoder.text("whiteout"),
    };
    encoder.number(entry.xattrs.iter().count() as u64);
    for (name, value) in entry.xattrs.iter() {
        encoder.bytes(name).bytes(value);
    }
}

/// Returns the digest of what is at a path, links followed: everything that a command can see of
/// it, except modification times.
pub(crate) fn digest_at(files: &dyn Files, written: &GuestPath) -> Result<Blake3, CopySelectError> {
    let path = resolve_in(files, written)?;
    let mut encoder = Encoder::new("kiln.part.3");
    match files.get(path.as_bytes()) {
        None if !path.is_root() => return Err(missing(files, written)),
        None => {}
        Some(entry) => encode_node(&mut encoder, files, entry),
    }
    for child in files.below(path.as_bytes()) {
        encoder.bytes(&child.path[path.as_bytes().len()..]);
        encode_node(&mut encoder, files, child);
        if let NodeKind::HardLink { target } = child.kind {
            let inside = target.strip_prefix(path.as_bytes()).unwrap_or(target);
            encoder.text("further name").bytes(inside);
        }
    }
    Ok(encoder.finish())
}
