//! `LayerBuilder::add_files`: copied and digested in one pass.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use kiln_files::GuestPath;
use kiln_snapshotter::{BuildError, Digest, Expectation, Hashed, NewFile, NewFiles};
use kiln_tree::{Blake3, NodeKind};

use crate::sample::{Root as _, add, listing, path, plain, store};

/// Files beside the store, each with what is expected of it.
struct Prepared {
    directory: PathBuf,
    files: Vec<(GuestPath, Vec<u8>, Hashed)>,
}

impl Prepared {
    /// Writes files down that hold what is expected of them.
    fn new(directory: &Path, files: &[(&str, usize)]) -> Self {
        let prepare = |&(name, length): &(&str, usize)| {
            let content: Vec<u8> = (0..length).map(|n| (n * 7 / 3) as u8).collect();
            fs::write(directory.join(name.replace('/', "-")), &content).unwrap();
            let known = hashed(&content);
            (path(name), content, known)
        };
        Self {
            directory: directory.to_owned(),
            files: files.iter().map(prepare).collect(),
        }
    }

    /// Returns the same files, of which something else is expected of one.
    fn with_expectation(mut self, number: usize, known: Hashed) -> Self {
        self.files[number].2 = known;
        self
    }
}

fn hashed(bytes: &[u8]) -> Hashed {
    Hashed {
        size_bytes: bytes.len() as u64,
        hash: Blake3::of(bytes),
    }
}

impl NewFiles for Prepared {
    type Error = BuildError;

    fn count(&self) -> usize {
        self.files.len()
    }

    fn describe(&self, number: usize) -> NewFile<'_> {
        let (path, _, known) = &self.files[number];
        NewFile {
            path: path.clone(),
            metadata: plain(0o640),
            known: *known,
        }
    }

    fn open(&self, number: usize) -> Result<fs::File, BuildError> {
        let name = self.files[number].0.as_relative().to_string_lossy();
        let path = self.directory.join(name.replace('/', "-"));
        fs::File::open(path).map_err(|source| BuildError::Content {
            path: self.files[number].0.clone(),
            source,
        })
    }
}

/// Of each size that is treated in its own way; neither multiples of what is handed on at once nor
/// of a block of the tar.
const SIZES: [(&str, usize); 5] = [
    ("b", 700_001),
    ("d/b", 17_000_001),
    ("d/c", 0),
    ("m", 513),
    ("n", 262_144),
];

#[test]
fn files_are_digested_on_their_way() {
    let (directory, store) = store();
    let names: Vec<String> = (0..200).map(|number| format!("many/{number:03}")).collect();
    let many: Vec<(&str, usize)> = names.iter().map(|name| (&**name, name.len())).collect();
    for files in [SIZES.to_vec(), [&SIZES[..3], &many[..]].concat(), many] {
        let files = Prepared::new(directory.path(), &files);
        let builder = store.builder().unwrap();
        add(&builder, &["a=small", "d/", "many/", "z=small", "d/y->z"]);
        let expectation = builder.add_files(&files, Digest::OnTheWay).unwrap();
        assert_eq!(expectation, Expectation::Met);
        let layer = builder.finish().unwrap();
        let on_the_way = layer.facts().unwrap().tars;
        let expected = layer.write_tar(&mut std::io::sink());
        assert_eq!(on_the_way, [expected.unwrap()]);
        for (path, content, known) in &files.files {
            let place = layer.root().join(path.as_relative());
            assert_eq!(&fs::read(&place).unwrap(), content);
            let mode = fs::metadata(place).unwrap().permissions().mode();
            assert_eq!(mode & 0o7777, 0o640);
            let (size, hash) = (known.size_bytes, known.hash);
            let entry = layer.tree().unwrap();
            assert_eq!(
                entry.get(path.as_bytes()).unwrap().kind,
                NodeKind::File { size, hash }
            );
        }
        // The same files are the same layer, whenever that is digested.
        let builder = store.builder().unwrap();
        add(&builder, &["a=small", "d/", "many/", "z=small", "d/y->z"]);
        builder.add_files(&files, Digest::Later).unwrap();
        assert_eq!(builder.finish().unwrap().id(), layer.id());
    }
}

#[test]
fn files_with_other_content_than_expected_are_added_as_they_are() {
    let (directory, store) = store();
    for number in 0..SIZES.len() {
        for expected in [&b""[..], b"0123", &[1; 700_000], &[1; 17_000_002]] {
            let files = Prepared::new(directory.path(), &SIZES);
            let (path, content, known) = files.files[number].clone();
            if known == hashed(expected) {
                continue;
            }
            let files = files.with_expectation(number, hashed(expected));
            for digest in [Digest::OnTheWay, Digest::Later] {
                let builder = store.builder().unwrap();
                add(&builder, &["d/"]);
                let expectation = builder.add_files(&files, digest).unwrap();
                assert_eq!(expectation, Expectation::Failed);
                let layer = builder.finish().unwrap();
                assert!(layer.facts().unwrap().tars.is_empty());
                let tree = layer.tree().unwrap();
                let (size, hash) = (known.size_bytes, known.hash);
                assert_eq!(
                    tree.get(path.as_bytes()).unwrap().kind,
                    NodeKind::File { size, hash }
                );
                let place = layer.root().join(path.as_relative());
                assert_eq!(fs::read(place).unwrap(), content);
            }
        }
    }
}

#[test]
fn a_digest_on_the_way_is_for_the_very_layer() {
    let (directory, store) = store();
    // What is added later makes it another layer.
    let files = Prepared::new(directory.path(), &SIZES);
    let builder = store.builder().unwrap();
    add(&builder, &["d/"]);
    builder.add_files(&files, Digest::OnTheWay).unwrap();
    add(&builder, &["later=small"]);
    let layer = builder.finish().unwrap();
    assert!(layer.facts().unwrap().tars.is_empty());
    // A file takes the place of a directory.
    for inside in [&["m/"][..], &["m/", "m/gone=1"]] {
        let builder = store.builder().unwrap();
        add(&builder, &[&["d/"], inside].concat());
        builder.add_files(&files, Digest::OnTheWay).unwrap();
        let layer = builder.finish().unwrap();
        let expected = [
            "b 700001",
            "d/",
            "d/b 17000001",
            "d/c 0",
            "m 513",
            "n 262144",
        ];
        assert_eq!(listing(&layer), expected);
        let known = layer.facts().unwrap().tars;
        let tar = layer.write_tar(&mut std::io::sink());
        assert!(known.is_empty() || known == [tar.unwrap()]);
    }
}

#[test]
fn a_file_that_cannot_be_opened_is_an_error_however_it_is_added() {
    let (directory, store) = store();
    for (name, _) in SIZES {
        for digest in [Digest::OnTheWay, Digest::Later] {
            let files = Prepared::new(directory.path(), &SIZES);
            fs::remove_file(directory.path().join(name.replace('/', "-"))).unwrap();
            let builder = store.builder().unwrap();
            add(&builder, &["d/"]);
            let error = builder.add_files(&files, digest).unwrap_err();
            assert!(matches!(error, BuildError::Content { .. }), "{error}");
        }
    }
}
