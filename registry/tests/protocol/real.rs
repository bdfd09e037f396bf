//! Against Debian's docker-registry.

use std::fs;
use std::io::Read as _;
use std::path::Path;

use kiln_oci::Sha256;
use kiln_registry::{
    BlobSource, Client, ClientOptions, Credentials, Error, ErrorClass, RegistriesConf, Secret,
    Stored,
};
use kiln_testbed::{Registry, need};

use crate::sample::{
    Events, TestStore, blob, bytes, client, image, index, name, options, platform,
};

#[test]
fn pushed_images_are_pulled() {
    let registry = need!(Registry::shared());
    let client = client();
    let layers = [bytes(1, 3_000_000), bytes(2, 10), Vec::new()];
    let mut pushed = image("amd64", &layers, "v1");
    // One layer from a file, as the store will have it.
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("layer");
    fs::write(&path, &layers[0]).unwrap();
    pushed.blobs[0].source = BlobSource::File(path);
    let repository = name(&registry.image("team/app"));

    let events = Events::default();
    let top = client
        .push(&repository, &pushed, &events.observer())
        .unwrap();
    assert_eq!(top.digest, Sha256::of(&pushed.manifest.bytes));
    assert_eq!(
        events.of(&pushed.blobs[0].descriptor),
        ["Preparing", "Uploading", "Uploaded"]
    );
    assert_eq!(client.list_tags(&repository).unwrap(), ["v1"]);

    let store = TestStore::new();
    let tagged = name(&registry.image("team/app:v1"));
    let quiet = |_| {};
    let pulled = client
        .pull(&tagged, &platform("linux/amd64"), &store.blobs, &quiet)
        .unwrap();
    assert_eq!(pulled.top, top);
    assert_eq!(pulled.manifest, top);
    assert_eq!(store.blobs.read(top.digest).unwrap(), pushed.manifest.bytes);
    assert!(store.blobs.contains(pulled.config.digest));
    let descriptors: Vec<_> = pushed.blobs[..3]
        .iter()
        .map(|b| b.descriptor.clone())
        .collect();
    assert_eq!(pulled.layers, descriptors);
    // The layers are fetched when they are wanted, not before.
    assert!(!store.blobs.contains(pulled.layers[0].digest));

    let events = Events::default();
    client
        .fetch_blobs(&tagged, &pulled.layers, &store.blobs, &events.observer())
        .unwrap();
    for (layer, descriptor) in layers.iter().zip(&pulled.layers) {
        assert_eq!(&store.blobs.read(descriptor.digest).unwrap(), layer);
    }
    assert_eq!(events.of(&pulled.layers[0]), ["Downloading", "Downloaded"]);
    let events = Events::default();
    client
        .fetch_blob(&tagged, &pulled.layers[0], &store.blobs, &events.observer())
        .unwrap();
    assert_eq!(events.of(&pulled.layers[0]), ["AlreadyHere"]);

    let mut read = Vec::new();
    let mut reader = client.open_blob(&tagged, &pulled.layers[0]).unwrap();
    reader.read_to_end(&mut read).unwrap();
    assert_eq!(read, layers[0]);
    assert_eq!(store.unfinished(), 0);
}

/// OCI-004, OCI-011, OCI-013.
#[test]
fn an_index_is_pushed_whole_and_pulled_in_part() {
    let registry = need!(Registry::shared());
    let client = client();
    let quiet = |_| {};
    let shared = bytes(3, 100_000);
    let amd64 = image("amd64", &[shared.clone(), bytes(4, 1000)], "unused");
    let arm64 = image("arm64", std::slice::from_ref(&shared), "unused");
    let mut both = index(&[("amd64", amd64.clone()), ("arm64", arm64.clone())], "1");
    both.tags.push("latest".to_owned());
    let repository = name(&registry.image("multi"));
    let top = client.push(&repository, &both, &quiet).unwrap();

    let store = TestStore::new();
    let pulled = client
        .pull(&repository, &platform("linux/arm64"), &store.blobs, &quiet)
        .unwrap();
    assert_eq!(pulled.top.digest, top.digest);
    assert_eq!(pulled.manifest.digest, arm64.manifest.descriptor().digest);
    assert!(!store.blobs.contains(amd64.manifest.descriptor().digest));

    let error = client
        .pull(&repository, &platform("linux/s390x"), &store.blobs, &quiet)
        .unwrap_err();
    assert_eq!(error.class(), ErrorClass::NoPlatform);
    let words = error.to_string();
    assert!(
        words.contains("no matching manifest for linux/s390x"),
        "{words}"
    );
    assert!(
        words.contains("(available: linux/amd64, linux/arm64)"),
        "{words}"
    );

    // Elsewhere in the same registry: what is known is mounted, not sent.
    let mut other = image("amd64", &[shared, bytes(5, 1000)], "v2");
    other.blobs[0].mount_from = Some(repository.clone().into());
    let events = Events::default();
    client
        .push(&name(&registry.image("other")), &other, &events.observer())
        .unwrap();
    assert_eq!(
        events.of(&other.blobs[0].descriptor),
        ["Preparing", "Mounted"]
    );
    assert_eq!(
        events.of(&other.blobs[1].descriptor),
        ["Preparing", "Uploading", "Uploaded"]
    );

    // Once more: nothing is sent at all.
    let events = Events::default();
    let sent = registry.log().matches("PUT").count();
    client.push(&repository, &both, &events.observer()).unwrap();
    for blob in &both.blobs {
        let steps = events.of(&blob.descriptor);
        assert_eq!(steps.last().map(String::as_str), Some("AlreadyThere"));
    }
    assert_eq!(registry.log().matches("PUT").count(), sent);
}

/// OCI-005.
#[test]
fn a_damaged_blob_is_refused_and_not_stored() {
    let registry = need!(Registry::start());
    let client = client();
    let quiet = |_| {};
    let pushed = image("amd64", &[bytes(6, 200_000)], "v1");
    let layer = &pushed.blobs[0].descriptor;
    let repository = name(&registry.image("damaged"));
    client.push(&repository, &pushed, &quiet).unwrap();
    let hex = layer.digest.hex();
    let data = format!("docker/registry/v2/blobs/sha256/{}/{hex}/data", &hex[..2]);
    let path = find(&registry.storage(), &data);
    let mut content = fs::read(&path).unwrap();
    content[100_000] ^= 1;
    fs::write(&path, content).unwrap();

    let store = TestStore::new();
    let error = client
        .fetch_blob(&repository, layer, &store.blobs, &quiet)
        .unwrap_err();
    assert_eq!(error.class(), ErrorClass::Integrity, "{error}");
    assert!(!store.blobs.contains(layer.digest));
    assert_eq!(store.unfinished(), 0);

    let mut reader = client.open_blob(&repository, layer).unwrap();
    let error = std::io::copy(&mut reader, &mut std::io::sink()).unwrap_err();
    let error = Error::from_io(error).unwrap();
    assert_eq!(error.class(), ErrorClass::Integrity, "{error}");
}

fn find(storage: &Path, data: &str) -> std::path::PathBuf {
    let path = storage.join(data);
    assert!(path.is_file(), "{} is missing", path.display());
    path
}

#[test]
fn missing_images_are_named() {
    let registry = need!(Registry::shared());
    let client = client();
    let quiet = |_| {};
    let absent = name(&registry.image("absent:v9"));
    let error = client.resolve(&absent).unwrap_err();
    assert_eq!(error.class(), ErrorClass::NotFound);
    let words = error.to_string();
    let expected = format!("manifest for {} not found: ", registry.image("absent:v9"));
    assert!(words.starts_with(&expected), "{words}");
    assert!(words.contains("manifest unknown"), "{words}");
    let error = client.list_tags(&absent).unwrap_err();
    assert_eq!(error.class(), ErrorClass::NotFound, "{error}");

    let store = TestStore::new();
    let nowhere = blob("application/octet-stream", bytes(7, 10)).descriptor;
    let error = client
        .fetch_blob(&absent, &nowhere, &store.blobs, &quiet)
        .unwrap_err();
    assert_eq!(error.class(), ErrorClass::NotFound, "{error}");
}

#[test]
fn a_registry_with_passwords() {
    let registry = need!(Registry::with_basic_auth("ann", "right:pass"));
    let home = tempfile::tempdir().unwrap();
    let with_home = || {
        Client::new(ClientOptions {
            credentials: Credentials {
                docker_directory: Some(home.path().to_owned()),
                ..Credentials::default()
            },
            ..options()
        })
    };
    let quiet = |_| {};
    let pushed = image("amd64", &[bytes(8, 500_000)], "v1");
    let repository = name(&registry.image("private:v1"));

    let error = with_home().push(&repository, &pushed, &quiet).unwrap_err();
    assert_eq!(error.class(), ErrorClass::Unauthorized, "{error}");
    let server = registry.address();
    let error = with_home()
        .login(&server, "ann", &Secret::new("wrong"))
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "unauthorized: incorrect username or password"
    );
    assert!(!home.path().join("config.json").exists());

    let stored = with_home()
        .login(&server, "ann", &Secret::new("right:pass"))
        .unwrap();
    assert_eq!(stored, Stored::File(home.path().join("config.json")));
    let client = with_home();
    client.push(&repository, &pushed, &quiet).unwrap();
    let store = TestStore::new();
    let pulled = client
        .pull(&repository, &platform("linux/amd64"), &store.blobs, &quiet)
        .unwrap();
    client
        .fetch_blobs(&repository, &pulled.layers, &store.blobs, &quiet)
        .unwrap();

    assert!(client.credentials().erase(&server).unwrap());
    let error = with_home().resolve(&repository).unwrap_err();
    assert_eq!(error.class(), ErrorClass::Unauthorized, "{error}");
}

/// The rewriting that a demonstration without internet needs.
#[test]
fn hub_names_may_lead_to_a_local_registry() {
    let registry = need!(Registry::shared());
    let quiet = |_| {};
    let mut registries = RegistriesConf::default();
    let text = format!(
        "[[registry]]\nprefix = 'docker.io/library'\nlocation = '{}'\ninsecure = true\n",
        registry.image("library")
    );
    registries
        .merge(&text, Path::new("registries.conf"))
        .unwrap();
    let client = Client::new(ClientOptions {
        registries,
        ..options()
    });
    let pushed = image("amd64", &[bytes(9, 1000)], "20");
    client.push(&name("node"), &pushed, &quiet).unwrap();
    let resolved = client.resolve(&name("node:20")).unwrap();
    assert_eq!(resolved.source, registry.image("library/node"));
    assert_eq!(resolved.descriptor, pushed.manifest.descriptor());
    assert_eq!(client.list_tags(&name("node")).unwrap(), ["20"]);
}

#[test]
fn cancelling_ends_what_runs_and_what_comes() {
    let registry = need!(Registry::shared());
    let client = client();
    let quiet = |_| {};
    let pushed = image("amd64", &[bytes(10, 8_000_000)], "v1");
    let repository = name(&registry.image("big"));
    client.push(&repository, &pushed, &quiet).unwrap();
    let store = TestStore::new();
    let layer = &pushed.blobs[0].descriptor;
    let cancel = |_| client.cancel();
    let error = client
        .fetch_blob(&repository, layer, &store.blobs, &cancel)
        .unwrap_err();
    assert_eq!(error.class(), ErrorClass::Cancelled, "{error}");
    assert!(!store.blobs.contains(layer.digest));
    let error = client.resolve(&repository).unwrap_err();
    assert_eq!(error.class(), ErrorClass::Cancelled, "{error}");
}
