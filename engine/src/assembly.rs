//! From solved targets to images of the local store, one for each platform, and their index.

use std::collections::BTreeMap;

use kiln_cache::LayerStack;
use kiln_exporter as exporter;
use kiln_exporter::{Assembly, ConfigChange, NewLayer, PlannedEntry, SharedCache};
use kiln_oci::{Image, Platform, Timestamp};
use kiln_registry::Client;
use kiln_snapshotter::{Layer, TarFacts};
use kiln_solver::{Reporter, Vertex};
use kiln_tree::{Blake3, Encoder};

use crate::annotations::Annotations;
use crate::built::{Built, ResultForm};
use crate::error::Cause;
use crate::request::{AnnotationPlace, BuildRequest, FileTimes, ImageOutput, MediaFamily};
use crate::shared_cache::export::wants_inline;
use crate::shared_cache::{Shareable, export, fetch};
use crate::stores::Stores;
use crate::{Error, LocalImage};

/// Makes the images of one build. Outputs that want the same get the same.
#[derive(Debug)]
pub(crate) struct ImageAssembler<'a> {
    pub(crate) stores: &'a Stores,
    pub(crate) client: &'a Client,
    pub(crate) request: &'a BuildRequest,
    pub(crate) sharing: &'a Shareable<'a>,
    pub(crate) built: &'a [Built<'a>],
    pub(crate) form: ResultForm,
    pub(crate) vertex: &'a Vertex<'a>,
    pub(crate) reporter: &'a Reporter<'a>,
    made: Vec<(Variant, LocalImage)>,
}

/// What outputs may want differently in an image itself.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Variant {
    epoch: Option<Timestamp>,
    file_times: FileTimes,
    annotations: Annotations,
    media_types: MediaFamily,
}

impl<'a> ImageAssembler<'a> {
    pub(crate) fn new(
        (stores, client): (&'a Stores, &'a Client),
        request: &'a BuildRequest,
        sharing: &'a Shareable<'a>,
        built: &'a [Built<'a>],
        form: ResultForm,
        (vertex, reporter): (&'a Vertex<'a>, &'a Reporter<'a>),
    ) -> Self {
        Self {
            stores,
            client,
            request,
            sharing,
            built,
            form,
            vertex,
            reporter,
            made: Vec::new(),
        }
    }

    /// Returns the image as an output wants it.
    pub(crate) fn make(&mut self, options: &ImageOutput) -> Result<LocalImage, Error> {
        let variant = Variant {
            epoch: options.epoch.or(self.sharing.plan.epoch),
            file_times: options.file_times,
            annotations: Annotations::of(self.request, options),
            media_types: options.media_types,
        };
        if let Some((_, known)) = self.made.iter().find(|(known, _)| *known == variant) {
            return Ok(known.clone());
        }
        let images = self.built.iter().map(|built| self.image(built, &variant));
        let images: Vec<Image> = images.collect::<Result<_, _>>()?;
        let local = self.local(images, &variant)?;
        self.made.push((variant, local.clone()));
        Ok(local)
    }

    fn local(&self, images: Vec<Image>, variant: &Variant) -> Result<LocalImage, Error> {
        let mut images = images;
        if self.form == ResultForm::Single {
            let only = images.pop().expect("a build has at least one target");
            return Ok(LocalImage::single(only));
        }
        let of_index = variant.annotations.of_index(AnnotationPlace::Index);
        let family = variant.media_types;
        let (mut descriptor, index) =
            exporter::store_index(&self.stores.blobs, &images, family, of_index).map_err(broken)?;
        for (image, entry) in images.iter_mut().zip(&index.manifests) {
            image.descriptor.platform.clone_from(&entry.platform);
        }
        self.say(&format!("exporting manifest list {}", descriptor.digest));
        descriptor.annotations = variant
            .annotations
            .of_index(AnnotationPlace::IndexDescriptor);
        Ok(LocalImage::indexed(descriptor, index, images))
    }

    /// Returns the image of one platform: the one made of the same things before, or a new one.
    fn image(&self, built: &Built<'_>, variant: &Variant) -> Result<Image, Error> {
        let platform = if self.request.platforms.is_empty() {
            built.target.config.platform()
        } else {
            built.target.platform.clone()
        };
        let annotations = |place| variant.annotations.of_image(place, &platform);
        let of_manifest = annotations(AnnotationPlace::Manifest);
        let of_descriptor = annotations(AnnotationPlace::ManifestDescriptor);
        let inline = self.inline(built, variant)?;
        let inputs = inputs(built, variant, &platform, &of_manifest, inline.as_ref());
        let stores = self.stores;
        let known = stores.assembled.get(inputs);
        self.vertex.status("exporting layers", 0, None, false);
        let mut image =
            match known.and_then(|known| kiln_cache::read_image(&stores.blobs, known).ok()) {
                Some(image) => image,
                None => {
                    let image = self.assemble(built, variant, platform, of_manifest, inline)?;
                    // Without the note the next build puts it together again.
                    let _ = stores.assembled.put(inputs, image.descriptor.digest);
                    image
                }
            };
        let family = variant.media_types;
        image = exporter::store_in_family(&stores.blobs, image, family).map_err(broken)?;
        image.descriptor.annotations = of_descriptor;
        self.say("exporting layers");
        self.say(&format!("exporting manifest {}", image.descriptor.digest));
        self.say(&format!("exporting config {}", image.id()));
        Ok(image)
    }

    /// Puts manifest and config of one platform together and stores them.
    fn assemble(
        &self,
        built: &Built<'_>,
        variant: &Variant,
        platform: Platform,
        annotations: BTreeMap<String, String>,
        inline: Option<SharedCache>,
    ) -> Result<Image, Error> {
        let Built { target, state } = built;
        let tars = &self.tars(state, variant)?;
        let base = target
            .base
            .map(|manifest| &self.sharing.plan.bases[&manifest].1);
        let new = tars
            .iter()
            .zip(state.layers())
            .map(|(tar, built)| NewLayer {
                diff_id: tar.diff_id,
                created: variant.epoch.unwrap_or(built.created),
            });
        let history = target
            .history
            .iter()
            .map(|entry| PlannedEntry {
                created_by: entry.created_by.clone(),
                change: match entry.step {
                    Some(_) => ConfigChange::Layer,
                    None => ConfigChange::Config,
                },
            })
            .collect();
        let mut config = exporter::assemble(Assembly {
            base,
            config: target.config.clone(),
            layers: new.collect(),
            history,
            platform,
            epoch: variant.epoch,
        })
        .map_err(broken)?;
        if let Some(inline) = inline {
            inline.write_inline(&mut config);
        }
        exporter::store_image(&self.stores.blobs, config, base, tars, annotations).map_err(broken)
    }

    /// Returns kiln's own tars of the new layers, with the times that are wanted.
    fn tars(&self, state: &LayerStack, variant: &Variant) -> Result<Vec<TarFacts>, Error> {
        let (stores, client) = (self.stores, self.client);
        let (FileTimes::Clamp, Some(epoch)) = (variant.file_times, variant.epoch) else {
            return state
                .layers()
                .into_iter()
                .map(|built| export::built_tar(stores, built.layer))
                .collect();
        };
        let layers = fetch::built_layers(stores, client, state, self.reporter)?;
        let clamped = |layer: &Layer| {
            let clamped = exporter::clamp_times(&stores.layers, layer, epoch);
            let clamped = clamped.map_err(broken)?;
            clamped.canonical_tar().map_err(broken)
        };
        layers.iter().map(clamped).collect()
    }

    /// Returns the cache that goes into the image, if one is asked for.
    fn inline(&self, built: &Built<'_>, variant: &Variant) -> Result<Option<SharedCache>, Error> {
        if !wants_inline(self.request) {
            return Ok(None);
        }
        let base = built.target.base;
        let base = base.map(|manifest| self.sharing.plan.bases[&manifest].1.layers().len());
        let tars = self.tars(&built.state, variant)?;
        let (root, state) = (built.target.root, &built.state);
        let base = base.unwrap_or(0);
        self.sharing
            .inline(self.stores, root, state, &tars, base)
            .map(Some)
    }

    fn say(&self, what: &str) {
        self.vertex.status(what, 0, None, true);
    }
}

/// Returns the digest of everything that manifest and config of one platform are made of.
fn inputs(
    built: &Built<'_>,
    variant: &Variant,
    platform: &Platform,
    annotations: &BTreeMap<String, String>,
    inline: Option<&SharedCache>,
) -> Blake3 {
    let Built { target, state } = built;
    let mut encoder = Encoder::new("kiln.image.1");
    encoder.optional(target.base.map(|base| base.to_string()).as_ref());
    encoder.number(state.len() as u64);
    for built in state.layers() {
        encoder.value(&built.layer.0);
        time(&mut encoder, built.created);
    }
    encoder.bytes(&target.config.to_bytes());
    encoder.number(target.history.len() as u64);
    for entry in &target.history {
        encoder.text(&entry.created_by).flag(entry.step.is_some());
    }
    encoder.text(&platform.to_string());
    encoder.flag(variant.epoch.is_some());
    time(&mut encoder, variant.epoch.unwrap_or(Timestamp::EPOCH));
    encoder.flag(variant.file_times == FileTimes::Clamp);
    encoder.number(annotations.len() as u64);
    for (name, value) in annotations {
        encoder.text(name).text(value);
    }
    if let Some(inline) = inline {
        encoder.bytes(&inline.to_config());
    }
    encoder.finish()
}

fn time(encoder: &mut Encoder, time: Timestamp) {
    encoder
        .number(time.seconds.cast_unsigned())
        .number(u64::from(time.nanoseconds));
}

fn broken(error: impl Into<Cause>) -> Error {
    Error::environment("cannot put the image together", error)
}
