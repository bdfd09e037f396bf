//! How large images are said to be: the lengths of their layers' tar streams.
//!
//! That is the same number before a layer is unpacked and afterwards, so an image is not larger
//! because it was run. Of a layer that is not here at all only the length of its blob is known.

use std::collections::HashSet;
use std::fs::File;
use std::os::unix::fs::FileExt as _;

use kiln_oci::{Compression, Descriptor, DiffId, Image, MediaKind};

use crate::stores::Stores;

/// Returns the bytes of the layers of images; what they share counts once.
pub(crate) fn size_of(stores: &Stores, images: &[Image]) -> u64 {
    let mut seen = HashSet::new();
    let mut layers: Vec<_> = images.iter().flat_map(Image::layers).collect();
    if images.len() > 1 {
        layers.retain(|(diff_id, _)| seen.insert(*diff_id));
    }
    let size =
        |(diff_id, descriptor): &(DiffId, &Descriptor)| layer_size(stores, *diff_id, descriptor);
    // What is not here is as large as its descriptor says, which can say anything.
    layers.iter().map(size).fold(0, u64::saturating_add)
}

/// Returns the bytes of an image's layers if they will be the same at any time.
pub(crate) fn exact_size_of(stores: &Stores, image: &Image) -> Option<u64> {
    let mut layers = image.layers();
    layers.try_fold(0_u64, |sum, (diff_id, descriptor)| {
        let length = known_length(stores, diff_id).or_else(|| blob_length(stores, descriptor))?;
        Some(sum.saturating_add(length))
    })
}

/// Returns the bytes of a layer.
pub(crate) fn layer_size(stores: &Stores, diff_id: DiffId, descriptor: &Descriptor) -> u64 {
    known_length(stores, diff_id)
        .or_else(|| blob_length(stores, descriptor))
        .unwrap_or(descriptor.size_bytes)
}

/// Returns the length of a tar stream that was written or read before.
fn known_length(stores: &Stores, diff_id: DiffId) -> Option<u64> {
    if let Some((_, description)) = stores.layers.described_as(diff_id) {
        return Some(description.tar_bytes);
    }
    let facts = stores.layers.by_diff_id(diff_id)?.facts().ok()?;
    let tar = facts.tars.iter().find(|tar| tar.diff_id == diff_id)?;
    Some(tar.size_bytes)
}

/// Returns the length of the tar stream in a blob that is here.
fn blob_length(stores: &Stores, descriptor: &Descriptor) -> Option<u64> {
    let MediaKind::Layer(compression) = MediaKind::of(&descriptor.media_type) else {
        return None;
    };
    let blob = stores.blobs.open(descriptor.digest).ok()?;
    let length = blob.metadata().ok()?.len();
    match compression {
        Compression::None => Some(length),
        Compression::Gzip => gzip_length(&blob, length),
        Compression::Zstd => zstd_length(&blob, length),
    }
}

/// Reads what the end of a gzip member says (RFC 1952, section 2.3.1, ISIZE). What is less than the
/// packed length is the end of the last of several members, or has wrapped around.
fn gzip_length(blob: &File, packed: u64) -> Option<u64> {
    let mut bytes = [0; 4];
    blob.read_exact_at(&mut bytes, packed.checked_sub(4)?)
        .ok()?;
    let length = u64::from(u32::from_le_bytes(bytes));
    (length >= packed).then_some(length)
}

/// Reads what the beginning of a zstd frame says, if it does (RFC 8878, section 3.1.1.1). What is
/// less than the packed length is one of several frames.
fn zstd_length(blob: &File, packed: u64) -> Option<u64> {
    let mut bytes = [0; 18];
    let read = blob.read_at(&mut bytes, 0).ok()?;
    let header = bytes[..read].strip_prefix(&0xFD2F_B528_u32.to_le_bytes())?;
    let (&descriptor, rest) = header.split_first()?;
    let is_single = descriptor & 0x20 != 0;
    let dictionary = [0, 1, 2, 4][usize::from(descriptor & 3)];
    let field = match descriptor >> 6 {
        0 if !is_single => return None,
        0 => 1,
        flag => 1 << flag,
    };
    let start = usize::from(!is_single) + dictionary;
    let mut number = [0; 8];
    number[..field].copy_from_slice(rest.get(start..start + field)?);
    let length = u64::from_le_bytes(number) + if field == 2 { 256 } else { 0 };
    (length >= packed).then_some(length)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn lengths_are_read_off_the_packed_form() {
        let file = |bytes: &[u8]| {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(bytes).unwrap();
            (file, bytes.len() as u64)
        };
        let (gzip, length) = file(&[&[0; 20][..], &70_000_u32.to_le_bytes()].concat());
        assert_eq!(gzip_length(&gzip, length), Some(70_000));
        let (members, length) = file(&[&[0; 20][..], &3_u32.to_le_bytes()].concat());
        assert_eq!(gzip_length(&members, length), None);
        assert_eq!(gzip_length(&file(b"").0, 0), None);
        let magic = 0xFD2F_B528_u32.to_le_bytes();
        for (header, expected) in [
            // A window, and four bytes of length.
            (&[0x80, 0x50, 0x70, 0x11, 1, 0][..], Some(70_000)),
            // No window, two bytes of length, which begin at 256.
            (&[0x60, 0, 1], Some(512)),
            // A window and no length.
            (&[0x00, 0x50], None),
            (&[0xC0], None),
        ] {
            let (zstd, length) = file(&[&magic[..], header].concat());
            assert_eq!(zstd_length(&zstd, length), expected, "{header:?}");
        }
        assert_eq!(zstd_length(&file(b"none").0, 4), None);
    }
}
