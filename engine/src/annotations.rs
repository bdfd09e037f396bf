//! Which annotations an output's images and index get.
//!
//! docs/spec/cli.md 1.5. Those of the command line go before those of the output, those for one
//! platform before those for all.

use std::collections::BTreeMap;

use kiln_oci::Platform;

use crate::request::{Annotation, AnnotationPlace, BuildRequest, ImageOutput};

/// The annotations of one output.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Annotations(Vec<Annotation>);

impl Annotations {
    /// Collects those of an output and of the request.
    pub(crate) fn of(request: &BuildRequest, options: &ImageOutput) -> Self {
        let all = options.annotations.iter().chain(&request.annotations);
        Self(all.cloned().collect())
    }

    /// Says whether some are for an index.
    pub(crate) fn need_index(&self) -> bool {
        let of_index = |place| {
            matches!(
                place,
                AnnotationPlace::Index | AnnotationPlace::IndexDescriptor
            )
        };
        self.0.iter().any(|annotation| of_index(annotation.on))
    }

    /// Returns those of the index or its descriptor.
    pub(crate) fn of_index(&self, place: AnnotationPlace) -> BTreeMap<String, String> {
        self.select(place, None)
    }

    /// Returns those of the manifest, or its descriptor, of one platform's image.
    pub(crate) fn of_image(
        &self,
        place: AnnotationPlace,
        platform: &Platform,
    ) -> BTreeMap<String, String> {
        let mut selected = self.select(place, None);
        selected.extend(self.select(place, Some(platform)));
        selected
    }

    fn select(
        &self,
        place: AnnotationPlace,
        platform: Option<&Platform>,
    ) -> BTreeMap<String, String> {
        let selected = self.0.iter().filter(|annotation| {
            annotation.on == place && annotation.platform.as_ref() == platform
        });
        selected
            .map(|annotation| (annotation.key.clone(), annotation.value.clone()))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_special_annotation_counts() {
        let arm: Platform = "linux/arm64".parse().unwrap();
        let annotation = |on, platform: Option<&Platform>, value: &str| Annotation {
            on,
            platform: platform.cloned(),
            key: "k".to_owned(),
            value: value.to_owned(),
        };
        let annotations = Annotations(vec![
            annotation(AnnotationPlace::Manifest, Some(&arm), "arm"),
            annotation(AnnotationPlace::Manifest, None, "output"),
            annotation(AnnotationPlace::Manifest, None, "flag"),
            annotation(AnnotationPlace::ManifestDescriptor, None, "descriptor"),
        ]);
        let value = |place, platform: &str| {
            let platform = platform.parse().unwrap();
            annotations.of_image(place, &platform).remove("k")
        };
        let is = |text: &str| Some(text.to_owned());
        assert_eq!(value(AnnotationPlace::Manifest, "linux/arm64"), is("arm"));
        assert_eq!(value(AnnotationPlace::Manifest, "linux/amd64"), is("flag"));
        assert_eq!(
            value(AnnotationPlace::ManifestDescriptor, "linux/arm64"),
            is("descriptor")
        );
        assert!(annotations.of_index(AnnotationPlace::Index).is_empty());
        assert!(!annotations.need_index());
    }
}
