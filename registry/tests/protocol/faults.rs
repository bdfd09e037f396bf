//! A network that fails at random: whatever comes of it, nothing is ever wrong.
//!
//! Connections are closed, cut off, answered by somebody in between, slow, or damaged, as a seed has
//! it; `KILN_SEED` gives another, `KILN_TRIALS` more trials. Each trial ends well or with an error
//! that says what happened, and leaves nothing half done.

use std::io::Read as _;
use std::sync::Mutex;
use std::time::Duration;

use kiln_registry::{Client, ClientOptions, ErrorClass, FetchOptions, Fetched, RetryPolicy};
use kiln_testbed::{Fault, FaultyProxy, Registry, Web, WebAnswer, need};

use crate::sample::{TestStore, bytes, client, image, name, options, platform};

/// What happens at random, and is not the fault of whoever asks.
const EXCUSES: [ErrorClass; 5] = [
    ErrorClass::Network,
    ErrorClass::Server,
    ErrorClass::RateLimited,
    ErrorClass::Integrity,
    ErrorClass::NotFound,
];

#[expect(
    clippy::disallowed_methods,
    reason = "whoever runs the tests asks for more"
)]
fn variable(name: &str, usual: u64) -> u64 {
    let given = std::env::var(name).ok();
    given.map_or(usual, |text| text.parse().unwrap())
}

/// Numbers that look random, the same for the same seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % limit
    }

    fn fault(&mut self, damages: bool) -> Fault {
        let at = match self.below(2) {
            0 => self.below(1_000),
            _ => self.below(400_000),
        };
        match self.below(9) {
            0 => Fault::Close,
            1 | 2 => Fault::Cut(at),
            3 => Fault::Status([429, 500, 502, 503, 504][usize::try_from(self.below(5)).unwrap()]),
            4 => Fault::Slow(at / 10),
            5 if damages => Fault::Damage(at),
            _ => Fault::None,
        }
    }
}

/// Does `attempt` over and over with proxies for `target` which break things, and says how it went.
/// `attempt` gets the proxy's address, and returns whether it succeeded.
#[expect(
    clippy::print_stdout,
    reason = "trials that met no fault have shown nothing"
)]
fn trials(target: &str, damages: bool, attempt: impl Fn(&str, u64) -> bool) {
    let first = variable("KILN_SEED", 1);
    let count = variable("KILN_TRIALS", 20);
    let (mut succeeded, mut faults) = (0, 0);
    for seed in first..first + count {
        let dice = Mutex::new(Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1));
        let proxy = FaultyProxy::start(target.parse().unwrap(), move |_| {
            dice.lock().unwrap().fault(damages)
        });
        succeeded += u64::from(attempt(&proxy.address().to_string(), seed));
        faults += proxy.faults();
    }
    println!("{count} trials with {faults} faults: {succeeded} succeeded");
    assert!(faults > 0);
    // Patience is of use.
    assert!(succeeded > 0);
}

/// Returns a client that is patient, but not for long.
fn patient() -> Client {
    Client::new(ClientOptions {
        retry: RetryPolicy {
            delays: vec![Duration::from_millis(1); 4],
            longest_wait: Duration::from_secs(1),
        },
        idle_timeout: Duration::from_secs(20),
        ..options()
    })
}

#[test]
fn pulls_are_right_or_fail() {
    let registry = need!(Registry::shared());
    let layers = [bytes(80, 700_000), bytes(81, 100), bytes(82, 50_000)];
    let pushed = image("amd64", &layers, "v1");
    let repository = name(&registry.image("a"));
    client().push(&repository, &pushed, &|_| {}).unwrap();
    trials(&registry.address(), true, |proxy, seed| {
        let client = patient();
        let store = TestStore::new();
        let name = name(&format!("{proxy}/{}", registry.path("a:v1")));
        let pulled = client
            .pull(&name, &platform("linux/amd64"), &store.blobs, &|_| {})
            .and_then(|pulled| {
                client.fetch_blobs(&name, &pulled.layers, &store.blobs, &|_| {})?;
                Ok(pulled)
            });
        assert_eq!(store.unfinished(), 0, "seed {seed}");
        for blob in &pushed.blobs {
            let digest = blob.descriptor.digest;
            if let Ok(content) = store.blobs.read(digest) {
                assert_eq!(kiln_oci::Sha256::of(&content), digest, "seed {seed}");
            }
        }
        match pulled {
            Ok(pulled) => {
                assert_eq!(pulled.top, pushed.manifest.descriptor(), "seed {seed}");
                for (layer, descriptor) in layers.iter().zip(&pulled.layers) {
                    assert!(store.blobs.read(descriptor.digest).unwrap() == *layer);
                }
                true
            }
            Err(error) => {
                // Damage may turn the words of a manifest around before its digest is looked at.
                let excused = EXCUSES.contains(&error.class())
                    || error.class() == ErrorClass::Unusable
                    || error.class() == ErrorClass::Unauthorized;
                assert!(excused, "seed {seed}: {error:?}");
                false
            }
        }
    });
}

#[test]
fn pushes_are_whole_or_fail() {
    let registry = need!(Registry::shared());
    trials(&registry.address(), false, |proxy, seed| {
        let layers = [bytes(seed * 10, 300_000), bytes(seed * 10 + 1, 100)];
        let pushed = image("amd64", &layers, "v1");
        let repository = format!("r{seed}");
        let to = name(&format!("{proxy}/{}", registry.path(&repository)));
        let outcome = patient().push(&to, &pushed, &|_| {});
        if let Err(error) = &outcome {
            assert!(EXCUSES.contains(&error.class()), "seed {seed}: {error:?}");
            return false;
        }
        // What is said to be there is there, every part of it.
        let store = TestStore::new();
        let name = name(&registry.image(&format!("{repository}:v1")));
        let client = client();
        let pulled = client
            .pull(&name, &platform("linux/amd64"), &store.blobs, &|_| {})
            .unwrap();
        client
            .fetch_blobs(&name, &pulled.layers, &store.blobs, &|_| {})
            .unwrap();
        true
    });
}

#[test]
fn downloads_are_right_or_fail() {
    let content = bytes(83, 500_000);
    for tagged in [true, false] {
        let served = content.clone();
        let web = Web::start(move |request| {
            let range = request.headers.get("range");
            let start = range.and_then(|range| range.strip_prefix("bytes="));
            let start = start.and_then(|range| range.strip_suffix('-'));
            let answer = match start {
                None => WebAnswer::new(200, served.clone()),
                Some(start) => {
                    let rest = &served[start.parse::<usize>().unwrap()..];
                    let whole = served.len();
                    let range = format!("bytes {start}-{}/{whole}", whole - 1);
                    WebAnswer::new(206, rest).with("content-range", &range)
                }
            };
            if tagged {
                answer.with("etag", "\"v1\"")
            } else {
                answer
            }
        });
        trials(&web.address().to_string(), false, |proxy, seed| {
            let client = patient();
            let url = format!("http://{proxy}/file");
            let mut read = Vec::new();
            let outcome = client
                .fetch(&url, &FetchOptions::default())
                .and_then(|fetched| match fetched {
                    Fetched::Download(mut download) => download
                        .read_to_end(&mut read)
                        .map_err(|error| kiln_registry::Error::from_io(error).unwrap()),
                    Fetched::NotModified => panic!("nothing was at hand"),
                });
            match outcome {
                Ok(_) => {
                    assert!(read == content, "seed {seed}");
                    true
                }
                Err(error) => {
                    assert!(EXCUSES.contains(&error.class()), "seed {seed}: {error:?}");
                    assert!(content.starts_with(&read), "seed {seed}");
                    false
                }
            }
        });
    }
}

/// As caches of other machines are read: a name, a manifest, a config on its way.
#[test]
fn streamed_blob_is_right_or_fails() {
    let registry = need!(Registry::shared());
    let content = bytes(84, 400_000);
    let pushed = image("amd64", std::slice::from_ref(&content), "v1");
    let layer = pushed.blobs[0].descriptor.clone();
    let repository = name(&registry.image("cache"));
    client().push(&repository, &pushed, &|_| {}).unwrap();
    trials(&registry.address(), true, |proxy, seed| {
        let client = patient();
        let name = name(&format!("{proxy}/{}", registry.path("cache:v1")));
        let mut read = Vec::new();
        let outcome = client.fetch_manifest(&name, &pushed.manifest.descriptor());
        let outcome = outcome.and_then(|manifest| {
            assert!(manifest == pushed.manifest.bytes, "seed {seed}");
            client
                .open_blob(&name, &layer)?
                .read_to_end(&mut read)
                .map_err(|error| kiln_registry::Error::from_io(error).unwrap())
        });
        match outcome {
            Ok(_) => {
                assert!(read == content, "seed {seed}");
                true
            }
            Err(error) => {
                let excused =
                    EXCUSES.contains(&error.class()) || error.class() == ErrorClass::Unauthorized;
                assert!(excused, "seed {seed}: {error:?}");
                false
            }
        }
    });
}
