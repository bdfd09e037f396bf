//! Blobs made from layers, and layers made from blobs again.

use std::fs;
use std::io::Read as _;

use kiln_cache::Blobs;
use kiln_files::GuestPath;
use kiln_oci::{Compression, DiffId, Sha256};
use kiln_snapshotter::{KnownBlob, Layer, LayerError, LayerStore, Level, Packing, TarOrigin};

use crate::sample::{Root, everything, layer, listing, store};

fn bytes_of(blobs: &Blobs, blob: &KnownBlob) -> Vec<u8> {
    let bytes = blobs.read(blob.descriptor.digest).unwrap();
    assert_eq!(blob.descriptor.size_bytes, bytes.len() as u64);
    bytes
}

fn unpacked(blobs: &Blobs, blob: &KnownBlob) -> Vec<u8> {
    let bytes = bytes_of(blobs, blob);
    let mut tar = Vec::new();
    match blob.compression {
        Compression::None => tar = bytes,
        Compression::Gzip => {
            let mut decoder = flate2::read::MultiGzDecoder::new(&*bytes);
            std::io::Read::read_to_end(&mut decoder, &mut tar).unwrap();
        }
        Compression::Zstd => zstd::stream::copy_decode(&*bytes, &mut tar).unwrap(),
    }
    tar
}

/// A layer whose tar takes several gzip members and zstd jobs.
fn large(store: &LayerStore) -> Layer {
    let mut state = 1_u32;
    let noise: String = (0..5_000_000)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            char::from(b'a' + u8::try_from(state >> 28).unwrap())
        })
        .collect();
    layer(store, &["d/", &format!("d/noise={noise}"), "d/x=1"])
}

/// The bytes of a blob depend on the library's version: when this fails after an update, pushed
/// layers get new digests, which is allowed but should be known.
#[test]
fn packed_bytes_are_frozen() {
    let (_directory, store) = store();
    let blobs = Blobs::new(store.store());
    let large = large(&store);
    for (compression, digest) in [
        (
            Compression::None,
            "dae8291efd79c6e4afeb414da8ac2f0fca3ac5504184744b4e327bdd52accaf2",
        ),
        (
            Compression::Gzip,
            "293d8a4c1f1054238ac04e2b156146a9e7797551731e3edaf507265600ca4f63",
        ),
        (
            Compression::Zstd,
            "2b7c3103eba6fa781fd375bcd09ce906105a61b92a74609ac249d7ccf62b6618",
        ),
    ] {
        let blob = large.pack(&blobs, Packing::new(compression)).unwrap();
        assert_eq!(
            blob.descriptor.digest.to_string(),
            format!("sha256:{digest}"),
            "{compression:?}"
        );
        assert_eq!(blob.descriptor.media_type, compression.oci_layer());
        assert_eq!(
            DiffId(Sha256::of(&unpacked(&blobs, &blob))),
            large.diff_id().unwrap()
        );
    }
    let empty = store.empty().unwrap();
    let blob = empty.pack(&blobs, Packing::new(Compression::Gzip)).unwrap();
    assert_eq!(blob.diff_id, DiffId::EMPTY);
    // docs/spec/oci.md 5.3: no flags, no time, unknown system.
    assert_eq!(
        bytes_of(&blobs, &blob)[..10],
        [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff]
    );
}

/// Returns what the first member or frame of a blob holds, and how many bytes follow it.
fn first_part(blob: &[u8], compression: Compression) -> (Vec<u8>, usize) {
    let (mut tar, mut rest) = (Vec::new(), blob);
    match compression {
        Compression::None => tar = std::mem::take(&mut rest).to_vec(),
        Compression::Gzip => {
            let mut decoder = flate2::bufread::GzDecoder::new(&mut rest);
            decoder.read_to_end(&mut tar).unwrap();
        }
        Compression::Zstd => {
            let decoder = zstd::stream::read::Decoder::with_buffer(&mut rest).unwrap();
            decoder.single_frame().read_to_end(&mut tar).unwrap();
        }
    }
    (tar, rest.len())
}

/// Many readers take the first member of a blob, or its first frame, for the whole.
#[test]
fn a_blob_is_one_member_or_frame() {
    let (_directory, store) = store();
    let blobs = Blobs::new(store.store());
    let (large, small) = (large(&store), everything(&store));
    let empty = store.empty().unwrap();
    for layer in [&large, &small, &empty] {
        for (compression, levels) in [
            (Compression::Gzip, &[0, 1, 5, 9][..]),
            (Compression::Zstd, &[1, 3]),
        ] {
            for &level in levels {
                let level = Level::Exactly(level);
                let blob = layer.pack(&blobs, Packing { compression, level }).unwrap();
                let (tar, rest) = first_part(&bytes_of(&blobs, &blob), compression);
                assert_eq!(rest, 0, "{compression:?} {level:?}");
                let diff_id = DiffId(Sha256::of(&tar));
                assert_eq!(
                    diff_id,
                    layer.diff_id().unwrap(),
                    "{compression:?} {level:?}"
                );
            }
        }
    }
}

/// What other programs make of a blob, read as a stream.
#[test]
fn blobs_are_read_by_other_programs() {
    const LENGTHS: &str = "import sys, tarfile
archive = tarfile.open(fileobj=sys.stdin.buffer, mode='r|gz')
print(*[f'{m.name}={len(archive.extractfile(m).read())}' for m in archive if m.isfile()])";
    let (_directory, store) = store();
    let blobs = Blobs::new(store.store());
    let large = large(&store);
    let blob = large.pack(&blobs, Packing::new(Compression::Gzip)).unwrap();
    for (program, arguments) in [("gzip", ["-dc", "-"]), ("python3", ["-c", LENGTHS])] {
        let input = fs::File::open(blobs.path(blob.descriptor.digest)).unwrap();
        let output = std::process::Command::new(program)
            .args(arguments)
            .stdin(input)
            .output();
        let Ok(output) = output else {
            println!("skipped: no {program}");
            continue;
        };
        assert!(output.status.success(), "{program}: {output:?}");
        match program {
            "gzip" => assert!(output.stdout == unpacked(&blobs, &blob)),
            _ => assert_eq!(output.stdout, b"d/noise=5000000 d/x=1\n"),
        }
    }
}

/// Blobs of another packer stay what they are, but the same layer is to give the same blob in every
/// store.
#[test]
fn blobs_of_earlier_packers_are_not_passed_on() {
    let (_directory, store) = store();
    let blobs = Blobs::new(store.store());
    let sample = everything(&store);
    let gzip = Packing::new(Compression::Gzip);
    let now = sample.pack(&blobs, gzip).unwrap();
    let old = {
        let digest = blobs.put(b"several members").unwrap();
        let media_type = Compression::Gzip.oci_layer();
        KnownBlob {
            descriptor: kiln_oci::Descriptor::new(media_type, digest, 15),
            packer: 0,
            ..now.clone()
        }
    };
    let facts = |blobs: &[&KnownBlob]| {
        let mut facts = sample.facts().unwrap();
        facts.blobs = blobs.iter().map(|blob| (*blob).clone()).collect();
        // As it was written before there were packers to tell apart.
        let text = serde_json::to_string(&facts).unwrap();
        fs::write(store.place(sample.id()).join("facts"), text).unwrap();
    };
    facts(&[&old]);
    assert_eq!(sample.facts().unwrap().blobs, std::slice::from_ref(&old));
    assert_eq!(sample.pack(&blobs, gzip).unwrap(), now);
    // One that came from elsewhere is as good as it was.
    let foreign = KnownBlob { level: None, ..old };
    facts(&[&foreign]);
    assert_eq!(sample.pack(&blobs, gzip).unwrap(), foreign);
}

#[test]
fn nothing_is_packed_twice() {
    let (_directory, store) = store();
    let blobs = Blobs::new(store.store());
    let sample = everything(&store);
    let gzip = Packing::new(Compression::Gzip);
    let first = sample.pack(&blobs, gzip).unwrap();
    assert_eq!(first.level, Some(5));
    // Bytes that no packing would give show that they were not made again.
    let place = blobs.path(first.descriptor.digest);
    let length = usize::try_from(first.descriptor.size_bytes).unwrap();
    fs::write(&place, vec![b'm'; length]).unwrap();
    assert_eq!(sample.pack(&blobs, gzip).unwrap(), first);
    assert_eq!(fs::read(&place).unwrap(), vec![b'm'; length]);
    // But one of another length is damaged, and made again.
    fs::write(&place, "short").unwrap();
    assert_eq!(sample.pack(&blobs, gzip).unwrap(), first);
    assert!(blobs.has(&first.descriptor));
    fs::remove_file(&place).unwrap();
    assert_eq!(sample.pack(&blobs, gzip).unwrap(), first);
    let other = Packing {
        level: Level::Exactly(1),
        ..gzip
    };
    let quick = sample.pack(&blobs, other).unwrap();
    assert_eq!(quick.level, Some(1));
    assert_ne!(quick.descriptor.digest, first.descriptor.digest);
    assert_eq!(sample.facts().unwrap().blobs, [first, quick]);
}

/// The tar is not digested again when its digest is known; the files are.
#[test]
fn a_file_changed_in_the_store_is_not_packed() {
    let (_directory, store) = store();
    let blobs = Blobs::new(store.store());
    let large = large(&store);
    large.canonical_tar().unwrap();
    let files = large.files().unwrap();
    for name in ["d/x", "d/noise"] {
        let path = files.path(&GuestPath::new(name));
        let content = fs::read(&path).unwrap();
        let mut changed = content.clone();
        changed[0] ^= 1;
        fs::write(&path, changed).unwrap();
        for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
            let error = large.pack(&blobs, Packing::new(compression)).unwrap_err();
            let LayerError::Changed { path, .. } = error else {
                panic!("{error}");
            };
            assert_eq!(path, GuestPath::new(name));
        }
        fs::write(&path, content).unwrap();
    }
    large.pack(&blobs, Packing::new(Compression::Gzip)).unwrap();
}

/// OCI-026, and blobs of foreign layers.
#[test]
fn foreign_layers_keep_their_tar() {
    let (_directory, store) = store();
    let blobs = Blobs::new(store.store());
    let mut bytes = Vec::new();
    let sample = layer(&store, &["a=1", "b=2"]);
    sample.write_tar(&mut bytes).unwrap();
    // A tar that kiln would not write: padded as GNU tar does.
    bytes.resize(10_240, 0);
    let diff_id = DiffId(Sha256::of(&bytes));
    let (_other_directory, other) = crate::sample::store();
    let blobs_of_other = Blobs::new(other.store());
    let foreign = other.apply(&*bytes, None, diff_id).unwrap();
    let gzip = Packing::new(Compression::Gzip);
    let error = foreign.pack(&blobs_of_other, gzip).unwrap_err();
    assert!(matches!(error, LayerError::WrongDiffId { .. }), "{error}");

    let digest = blobs_of_other.put(&bytes).unwrap();
    let descriptor =
        kiln_oci::Descriptor::new(Compression::None.oci_layer(), digest, bytes.len() as u64);
    foreign
        .remember_blob(KnownBlob {
            diff_id,
            descriptor,
            compression: Compression::None,
            level: None,
            packer: 0,
        })
        .unwrap();
    for compression in [Compression::Gzip, Compression::Zstd, Compression::None] {
        let blob = foreign
            .pack(&blobs_of_other, Packing::new(compression))
            .unwrap();
        assert_eq!(blob.diff_id, diff_id);
        assert!(unpacked(&blobs_of_other, &blob) == bytes);
    }
    assert_eq!(foreign.facts().unwrap().tars[0].origin, TarOrigin::Foreign);
    assert_ne!(sample.pack(&blobs, gzip).unwrap().diff_id, diff_id);
}

#[test]
fn deleted_files_come_back_from_blobs() {
    let (_directory, store) = store();
    let blobs = Blobs::new(store.store());
    let made = everything(&store);
    let listed = listing(&made);
    fs::remove_dir_all(made.root()).unwrap();
    let error = store.materialise(&made, &blobs).unwrap_err();
    assert!(error.to_string().contains("is not unpacked"), "{error}");
    assert_eq!(everything(&store), made);
    made.pack(&blobs, Packing::new(Compression::Zstd)).unwrap();
    fs::remove_dir_all(made.root()).unwrap();
    let directory = store.materialise(&made, &blobs).unwrap();
    assert_eq!(
        fs::read(directory.path(&GuestPath::new("b/file"))).unwrap(),
        b"some text"
    );
    assert_eq!(listing(&made), listed);
    assert_eq!(
        made.write_tar(&mut std::io::sink()).unwrap().diff_id,
        made.diff_id().unwrap()
    );
}
