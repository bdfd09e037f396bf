//! From solved targets to images of the local store, one for each platform, and their index.

use std::collections::BTreeMap;

use kiln_cache::{Blake3, Encoder, Image, Platform, State, Timestamp};
use kiln_exporter as exporter;
use kiln_exporter::{Assembly, Change, NewLayer, PlannedEntry};
use kiln_snapshotter::Layer;
use kiln_solver::{Plan, Vertex};

use crate::annotations::Annotations;
use crate::output::{Built, Form};
use crate::request::{AnnotationPlace, BuildRequest, FileTimes, ImageOptions};
use crate::{Engine, Error, LocalImage};

/// Makes the images of one build. Outputs that want the same get the same.
#[derive(Debug)]
pub(crate) struct Maker<'a> {
    pub(crate) engine: &'a Engine,
    pub(crate) request: &'a BuildRequest,
    pub(crate) plan: &'a Plan,
    pub(crate) built: &'a [Built<'a>],
    pub(crate) form: Form,
    pub(crate) vertex: &'a Vertex<'a>,
    made: Vec<(Wish, LocalImage)>,
}

/// What outputs may want differently in an image itself.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Wish {
    epoch: Option<Timestamp>,
    file_times: FileTimes,
    annotations: Annotations,
}

impl<'a> Maker<'a> {
    pub(crate) fn new(
        engine: &'a Engine,
        request: &'a BuildRequest,
        plan: &'a Plan,
        built: &'a [Built<'a>],
        form: Form,
        vertex: &'a Vertex<'a>,
    ) -> Self {
        Self {
            engine,
            request,
            plan,
            built,
            form,
            vertex,
            made: Vec::new(),
        }
    }

    /// Returns the image as an output wants it.
    pub(crate) fn make(&mut self, options: &ImageOptions) -> Result<LocalImage, Error> {
        let wish = Wish {
            epoch: options.epoch.or(self.plan.epoch),
            file_times: options.file_times,
            annotations: Annotations::of(self.request, options),
        };
        if let Some((_, known)) = self.made.iter().find(|(known, _)| *known == wish) {
            return Ok(known.clone());
        }
        let images = self.built.iter().map(|built| self.image(built, &wish));
        let images: Vec<Image> = images.collect::<Result<_, _>>()?;
        let local = self.local(images, &wish.annotations)?;
        self.made.push((wish, local.clone()));
        Ok(local)
    }

    fn local(&self, images: Vec<Image>, annotations: &Annotations) -> Result<LocalImage, Error> {
        let mut images = images;
        if self.form == Form::Single {
            let only = images.pop().expect("a build has at least one target");
            return Ok(LocalImage::single(only));
        }
        let of_index = annotations.of_index(AnnotationPlace::Index);
        let (mut descriptor, index) = exporter::store_index(&self.engine.blobs, &images, of_index)
            .map_err(|error| broken(&error))?;
        for (image, entry) in images.iter_mut().zip(&index.manifests) {
            image.descriptor.platform.clone_from(&entry.platform);
        }
        self.say(&format!("exporting manifest list {}", descriptor.digest));
        descriptor.annotations = annotations.of_index(AnnotationPlace::IndexDescriptor);
        Ok(LocalImage::indexed(descriptor, index, images))
    }

    /// Returns the image of one platform: the one made of the same things before, or a new one.
    fn image(&self, built: &Built<'_>, wish: &Wish) -> Result<Image, Error> {
        let platform = match self.request.platforms.is_empty() {
            true => built.target.config.platform(),
            false => built.target.platform.clone(),
        };
        let annotations = |place| wish.annotations.of_image(place, &platform);
        let of_manifest = annotations(AnnotationPlace::Manifest);
        let of_descriptor = annotations(AnnotationPlace::ManifestDescriptor);
        let inputs = inputs(built, wish, &platform, &of_manifest);
        let engine = self.engine;
        let known = engine.assembled.get(inputs);
        self.vertex.status("exporting layers", 0, None, false);
        let mut image = match known.and_then(|known| Image::read(&engine.blobs, known).ok()) {
            Some(image) => image,
            None => {
                let image = self.assemble(built, wish, platform, of_manifest)?;
                // Without the note the next build puts it together again.
                let _ = engine.assembled.put(inputs, image.descriptor.digest);
                image
            }
        };
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
        wish: &Wish,
        platform: Platform,
        annotations: BTreeMap<String, String>,
    ) -> Result<Image, Error> {
        let Built { target, state } = built;
        let base = target.base.map(|manifest| &self.plan.bases[&manifest].1);
        let layers = self.layers(state, wish)?;
        let mut new = Vec::with_capacity(layers.len());
        for (layer, built) in layers.iter().zip(&state.layers) {
            let diff_id = layer.canonical_tar().map_err(|e| broken(&e))?.diff_id;
            new.push(NewLayer {
                diff_id,
                created: wish.epoch.unwrap_or(built.created),
            });
        }
        let history = target
            .history
            .iter()
            .map(|entry| PlannedEntry {
                created_by: entry.created_by.clone(),
                change: match entry.step {
                    Some(_) => Change::Layer,
                    None => Change::Config,
                },
            })
            .collect();
        let config = exporter::assemble(Assembly {
            base,
            config: target.config.clone(),
            layers: new,
            history,
            platform,
            epoch: wish.epoch,
        })
        .map_err(|error| broken(&error))?;
        exporter::store_image(&self.engine.blobs, config, base, &layers, annotations)
            .map_err(|error| broken(&error))
    }

    /// Returns the new layers, with the times that are wanted.
    fn layers(&self, state: &State, wish: &Wish) -> Result<Vec<Layer>, Error> {
        let layers = self.engine.built_layers(state)?;
        match (wish.file_times, wish.epoch) {
            (FileTimes::Clamp, Some(epoch)) => layers
                .iter()
                .map(|layer| exporter::clamp_times(&self.engine.layers, layer, epoch))
                .collect::<Result<_, _>>()
                .map_err(|error| broken(&error)),
            _ => Ok(layers),
        }
    }

    fn say(&self, what: &str) {
        self.vertex.status(what, 0, None, true);
    }
}

/// Returns the digest of everything that manifest and config of one platform are made of.
fn inputs(
    built: &Built<'_>,
    wish: &Wish,
    platform: &Platform,
    annotations: &BTreeMap<String, String>,
) -> Blake3 {
    let Built { target, state } = built;
    let mut encoder = Encoder::new("kiln.image.1");
    encoder.optional(target.base.map(|base| base.to_string()).as_ref());
    encoder.number(state.layers.len() as u64);
    for built in &state.layers {
        encoder.value(&built.layer.0);
        time(&mut encoder, built.created);
    }
    encoder.bytes(&target.config.to_bytes());
    encoder.number(target.history.len() as u64);
    for entry in &target.history {
        encoder.text(&entry.created_by).flag(entry.step.is_some());
    }
    encoder.text(&platform.to_string());
    encoder.flag(wish.epoch.is_some());
    time(&mut encoder, wish.epoch.unwrap_or(Timestamp::EPOCH));
    encoder.flag(wish.file_times == FileTimes::Clamp);
    encoder.number(annotations.len() as u64);
    for (name, value) in annotations {
        encoder.text(name).text(value);
    }
    encoder.finish()
}

fn time(encoder: &mut Encoder, time: Timestamp) {
    encoder
        .number(time.seconds.cast_unsigned())
        .number(u64::from(time.nanoseconds));
}

fn broken(error: &(dyn std::error::Error + 'static)) -> Error {
    Error::environment("cannot put the image together", error)
}

impl Engine {
    /// Returns the layers that steps made.
    pub(crate) fn built_layers(&self, state: &State) -> Result<Vec<Layer>, Error> {
        state
            .layers
            .iter()
            .map(|built| {
                self.layers
                    .layer(built.layer)
                    .ok_or_else(|| Error::Environment {
                        message: format!("layer {} was deleted during the build", built.layer),
                        hint: Some("build again".to_owned()),
                    })
            })
            .collect()
    }
}
