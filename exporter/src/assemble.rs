//! From a base, new layers and planned history to the config of an image: pure.
//!
//! docs/spec/dockerfile.md 11. The base's history and diff ids come first, unchanged; then one
//! entry per instruction. A time is that of the layer; a change of the config alone borrows the
//! time of the nearest new layer, so that rebuilding from cache gives the very same bytes.

use kiln_oci::{DiffId, History, Image, ImageConfig, Platform, RootFs, Timestamp};

use crate::cache_config::remove_inline;

/// The comment of history entries that BuildKit adds; tools look for it.
const COMMENT: &str = "buildkit.dockerfile.v0";

/// Everything that an image's config is made of.
#[derive(Clone, Debug)]
pub struct Assembly<'a> {
    /// The image built upon; none for `scratch`.
    pub base: Option<&'a Image>,
    /// The config but for `created`, `history`, `rootfs` and the platform.
    pub config: ImageConfig,
    /// The layers on top of the base, lowest first.
    pub layers: Vec<NewLayer>,
    /// The instructions, in order.
    pub history: Vec<PlannedEntry>,
    /// What the image runs on.
    pub platform: Platform,
    /// Replaces the time of everything new (SOURCE_DATE_EPOCH).
    pub epoch: Option<Timestamp>,
}

/// A layer that a build made, or found that it had made before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewLayer {
    /// Digest of its tar.
    pub diff_id: DiffId,
    /// When it was made.
    pub created: Timestamp,
}

/// A history entry that still needs its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedEntry {
    /// The instruction.
    pub created_by: String,
    /// What it changed.
    pub change: ConfigChange,
}

/// A change of the config by an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigChange {
    /// The file system: there is a layer for it, maybe an empty one.
    Layer,
    /// The config alone.
    Config,
}

/// Why layers and history do not fit together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("history speaks of {entries} new layers, there are {layers}")]
pub struct AssembleError {
    /// Number of entries with a layer.
    pub entries: usize,
    /// Number of layers.
    pub layers: usize,
}

/// Puts the config of an image together.
///
/// # Errors
/// When the number of layers is not that of the history entries with a layer.
pub fn assemble(assembly: Assembly<'_>) -> Result<ImageConfig, AssembleError> {
    let Assembly {
        base,
        config,
        layers,
        history: planned,
        platform,
        epoch,
    } = assembly;
    let entries = planned
        .iter()
        .filter(|entry| entry.change == ConfigChange::Layer)
        .count();
    if entries != layers.len() {
        return Err(AssembleError {
            entries,
            layers: layers.len(),
        });
    }
    let mut history = base.map_or_else(Vec::new, |base| base.config.history.clone());
    let of_base = || {
        let base = base?;
        let last = base.config.history.last().and_then(|entry| entry.created);
        last.or(base.config.created)
    };
    let mut time = match layers.first() {
        Some(first) => Some(first.created),
        None => of_base(),
    };
    let mut remaining = layers.iter();
    for PlannedEntry { created_by, change } in planned {
        if change == ConfigChange::Layer {
            time = remaining.next().map(|layer| layer.created);
        }
        history.push(History {
            created: epoch.or(time),
            created_by,
            author: String::new(),
            comment: COMMENT.to_owned(),
            empty_layer: change == ConfigChange::Config,
        });
    }
    let mut diff_ids = base.map_or_else(Vec::new, |base| base.config.rootfs.diff_ids.clone());
    diff_ids.extend(layers.iter().map(|layer| layer.diff_id));
    let last = history.last().and_then(|entry| entry.created);
    let mut config = config;
    // A cache in the base's config speaks of the base's layers.
    remove_inline(&mut config);
    Ok(ImageConfig {
        architecture: platform.architecture,
        os: platform.os,
        variant: platform.variant,
        created: epoch.or(last).or_else(of_base),
        history,
        rootfs: RootFs {
            diff_ids,
            ..RootFs::default()
        },
        ..config
    })
}

#[cfg(test)]
mod tests {
    use kiln_oci::{Descriptor, Manifest, Sha256, media_type};

    use super::*;

    fn base() -> Image {
        let history = |created, empty_layer| History {
            created: Some(Timestamp::from_seconds(created)),
            created_by: "base".to_owned(),
            empty_layer,
            ..History::default()
        };
        let descriptor = Descriptor::of(media_type::OCI_CONFIG, b"");
        Image {
            descriptor: descriptor.clone(),
            manifest: Manifest::oci(descriptor.clone(), vec![descriptor]),
            config: ImageConfig {
                history: vec![history(10, false), history(20, true)],
                rootfs: RootFs {
                    diff_ids: vec![DiffId(Sha256::of(b"base"))],
                    ..RootFs::default()
                },
                created: Some(Timestamp::from_seconds(30)),
                ..ImageConfig::default()
            },
        }
    }

    /// Assembles `history`, one letter per instruction (L has a layer, c has none), with layers
    /// made at `layers`. Returns the time of each new entry and that of the image.
    fn times(
        base: Option<&Image>,
        history: &str,
        layers: &[i64],
        epoch: Option<i64>,
    ) -> (Vec<Option<i64>>, Option<i64>) {
        let config = assemble(Assembly {
            base,
            config: ImageConfig::default(),
            layers: layers
                .iter()
                .map(|&created| NewLayer {
                    diff_id: DiffId::EMPTY,
                    created: Timestamp::from_seconds(created),
                })
                .collect(),
            history: history
                .chars()
                .map(|letter| PlannedEntry {
                    created_by: letter.to_string(),
                    change: match letter {
                        'L' => ConfigChange::Layer,
                        _ => ConfigChange::Config,
                    },
                })
                .collect(),
            platform: Platform::new("linux", "arm", "v6"),
            epoch: epoch.map(Timestamp::from_seconds),
        })
        .unwrap();
        assert_eq!(config.platform(), Platform::new("linux", "arm", "v6"));
        let old = base.map_or(0, |base| base.config.history.len());
        if let Some(base) = base {
            assert_eq!(config.history[..old], base.config.history);
        }
        for (entry, letter) in config.history[old..].iter().zip(history.chars()) {
            assert_eq!(entry.created_by, letter.to_string());
            assert_eq!(entry.empty_layer, letter == 'c');
            assert_eq!(entry.comment, "buildkit.dockerfile.v0");
        }
        let seconds = |time: Option<Timestamp>| time.map(|time| time.seconds);
        (
            config.history[old..]
                .iter()
                .map(|entry| seconds(entry.created))
                .collect(),
            seconds(config.created),
        )
    }

    #[test]
    fn a_change_of_the_config_takes_the_time_of_the_nearest_new_layer() {
        let base = base();
        for (base, history, layers, epoch, expected, created) in [
            (None, "", &[][..], None, &[][..], None),
            (None, "c", &[], None, &[None], None),
            (None, "L", &[1], None, &[Some(1)], Some(1)),
            (
                None,
                "ccLcLc",
                &[1, 2],
                None,
                &[Some(1), Some(1), Some(1), Some(1), Some(2), Some(2)],
                Some(2),
            ),
            (Some(&base), "", &[], None, &[], Some(20)),
            (
                Some(&base),
                "cc",
                &[],
                None,
                &[Some(20), Some(20)],
                Some(20),
            ),
            (
                Some(&base),
                "cL",
                &[40],
                None,
                &[Some(40), Some(40)],
                Some(40),
            ),
            (
                Some(&base),
                "cL",
                &[40],
                Some(5),
                &[Some(5), Some(5)],
                Some(5),
            ),
            (None, "c", &[], Some(5), &[Some(5)], Some(5)),
        ] {
            let (entries, of_image) = times(base, history, layers, epoch);
            assert_eq!(entries, expected, "{history}");
            assert_eq!(of_image, created, "{history}");
        }
    }

    #[test]
    fn a_base_without_history_still_has_a_time() {
        let mut base = base();
        base.config.history.clear();
        assert_eq!(
            times(Some(&base), "c", &[], None),
            (vec![Some(30)], Some(30))
        );
    }

    #[test]
    fn diff_ids_stack_and_the_template_stays() {
        let base = base();
        let new = DiffId(Sha256::of(b"new"));
        let mut template = ImageConfig::default();
        template.config.env.push("A=b".to_owned());
        template.author = Some("somebody".to_owned());
        template.other.insert("os.version".to_owned(), "1".into());
        let config = assemble(Assembly {
            base: Some(&base),
            config: template.clone(),
            layers: vec![NewLayer {
                diff_id: new,
                created: Timestamp::EPOCH,
            }],
            history: vec![PlannedEntry {
                created_by: "RUN true".to_owned(),
                change: ConfigChange::Layer,
            }],
            platform: Platform::new("linux", "amd64", ""),
            epoch: None,
        })
        .unwrap();
        assert_eq!(
            config.rootfs.diff_ids,
            [base.config.rootfs.diff_ids[0], new]
        );
        assert_eq!(config.config, template.config);
        assert_eq!(config.author, template.author);
        assert_eq!(config.other, template.other);
        assert_eq!(config.platform().to_string(), "linux/amd64");
    }

    #[test]
    fn layers_and_history_have_to_agree() {
        let error = assemble(Assembly {
            base: None,
            config: ImageConfig::default(),
            layers: Vec::new(),
            history: vec![PlannedEntry {
                created_by: "RUN true".to_owned(),
                change: ConfigChange::Layer,
            }],
            platform: Platform::new("linux", "amd64", ""),
            epoch: None,
        })
        .unwrap_err();
        assert_eq!(
            error.to_string(),
            "history speaks of 1 new layers, there are 0"
        );
    }
}
