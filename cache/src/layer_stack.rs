//! File systems as stacks of layers, which share what they have in common.
//!
//! Each step of a build has the layers of the step before and one more. A stack is therefore a list
//! from the top down: one more layer on top is one more link, and two stacks with the same bottom have
//! it in common. Each link has running digests, so that stacks are compared without looking below.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::iter;
use std::sync::Arc;

use kiln_oci::{Sha256, Timestamp};
use kiln_tree::{Blake3, Encoder, LayerId};
use serde::{Deserialize, Serialize};

/// A layer made by a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct BuiltLayer {
    /// The layer.
    pub layer: LayerId,
    /// When it was made.
    pub created: Timestamp,
}

/// A file system: the layers of a base image, and those made on top.
///
/// A clone, or one with a layer more, costs the same at any depth. Equal are stacks of the same layers
/// made at the same times.
#[derive(Clone, Default)]
pub struct LayerStack {
    base: Option<Sha256>,
    top: Option<Arc<Link>>,
}

#[derive(Debug)]
struct Link {
    built: BuiltLayer,
    below: Option<Arc<Self>>,
    /// Made layers, this one included.
    depth: usize,
    /// Of the base and the layers up to this one.
    files: Blake3,
    /// The same, with the times at which they were made.
    whole: Blake3,
}

impl LayerStack {
    /// Returns the stack of the layers of an image alone; without one, of none: `scratch`.
    #[must_use]
    pub fn on(base: Option<Sha256>) -> Self {
        Self { base, top: None }
    }

    /// Returns the stack with one more layer on top.
    #[must_use]
    pub fn with(&self, built: BuiltLayer) -> Self {
        let step = |below: Blake3, created: Option<Timestamp>| {
            let mut encoder = Encoder::new("kiln.stack.1");
            encoder.value(&below).value(&built.layer.0);
            if let Some(created) = created {
                encoder.number(created.seconds.cast_unsigned());
                encoder.number(u64::from(created.nanoseconds));
            }
            encoder.finish()
        };
        let link = Link {
            built,
            depth: self.len() + 1,
            files: step(self.files(), None),
            whole: step(self.whole(), Some(built.created)),
            below: self.top.clone(),
        };
        Self {
            base: self.base,
            top: Some(Arc::new(link)),
        }
    }

    /// Returns the stack with more layers on top, lowest first.
    #[must_use]
    pub fn with_all(&self, built: impl IntoIterator<Item = BuiltLayer>) -> Self {
        let more = built.into_iter();
        more.fold(self.clone(), |stack, built| stack.with(built))
    }

    /// Returns the manifest of the image at the bottom; none for `scratch`.
    #[must_use]
    pub fn base(&self) -> Option<Sha256> {
        self.base
    }

    /// Returns the number of layers above the base.
    #[must_use]
    pub fn len(&self) -> usize {
        self.top.as_ref().map_or(0, |top| top.depth)
    }

    /// Says whether there is no layer above the base.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.top.is_none()
    }

    /// Returns the uppermost layer; none if there is none above the base.
    #[must_use]
    pub fn top(&self) -> Option<BuiltLayer> {
        Some(self.top.as_ref()?.built)
    }

    /// Returns the stack without its uppermost layer; none if there is none above the base.
    #[must_use]
    pub fn below(&self) -> Option<Self> {
        Some(Self {
            base: self.base,
            top: self.top.as_ref()?.below.clone(),
        })
    }

    /// Returns this stack and those below it, from the highest to the base alone.
    pub fn down(&self) -> impl Iterator<Item = Self> + use<> {
        iter::successors(Some(self.clone()), Self::below)
    }

    /// Returns the layers above the base, the highest first.
    pub fn from_top(&self) -> impl Iterator<Item = BuiltLayer> {
        iter::successors(self.top.as_deref(), |link| link.below.as_deref()).map(|link| link.built)
    }

    /// Returns the layers above the base, the lowest first.
    #[must_use]
    pub fn layers(&self) -> Vec<BuiltLayer> {
        let mut layers = Vec::with_capacity(self.len());
        layers.extend(self.from_top());
        layers.reverse();
        layers
    }

    /// Returns the digest of the base and the layers, whenever they were made.
    #[must_use]
    pub fn files(&self) -> Blake3 {
        self.top
            .as_ref()
            .map_or_else(|| self.bottom(), |top| top.files)
    }

    /// Returns the digest of the base, the layers and the times at which they were made.
    pub(crate) fn whole(&self) -> Blake3 {
        self.top
            .as_ref()
            .map_or_else(|| self.bottom(), |top| top.whole)
    }

    fn bottom(&self) -> Blake3 {
        let mut encoder = Encoder::new("kiln.stack.1");
        encoder.optional(self.base.as_ref());
        encoder.finish()
    }
}

impl PartialEq for LayerStack {
    fn eq(&self, other: &Self) -> bool {
        self.whole() == other.whole()
    }
}

impl Eq for LayerStack {}

impl Hash for LayerStack {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.whole().hash(state);
    }
}

impl fmt::Debug for LayerStack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LayerStack")
            .field("base", &self.base)
            .field("layers", &self.layers())
            .finish()
    }
}

impl Drop for Link {
    /// Lets go of the links below one after the other: each within the one above, a long list would
    /// take more of the thread's stack than there is.
    fn drop(&mut self) {
        let mut next = self.below.take();
        while let Some(mut link) = next.and_then(Arc::into_inner) {
            next = link.below.take();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn built(number: usize, seconds: i64) -> BuiltLayer {
        BuiltLayer {
            layer: LayerId(Blake3::of(&number.to_le_bytes())),
            created: Timestamp::from_seconds(seconds),
        }
    }

    #[test]
    fn stacks_are_what_was_put_on_them() {
        let base = Some(Sha256::of(b"base"));
        let layers: Vec<BuiltLayer> = (0..3).map(|number| built(number, 5)).collect();
        let stack = LayerStack::on(base).with_all(layers.iter().copied());
        assert_eq!((stack.base(), stack.len()), (base, 3));
        assert_eq!(stack.layers(), layers);
        assert_eq!(stack.top(), Some(layers[2]));
        let depths: Vec<usize> = stack.down().map(|below| below.len()).collect();
        assert_eq!(depths, [3, 2, 1, 0]);
        let below = stack.below().unwrap();
        assert_eq!(below, LayerStack::on(base).with(layers[0]).with(layers[1]));
        assert!(LayerStack::on(base).below().is_none() && LayerStack::default().is_empty());
    }

    #[test]
    fn stacks_of_other_bases_layers_or_orders_are_others() {
        let [one, two] = [built(1, 5), built(2, 5)];
        let scratch = LayerStack::default();
        let on_base = LayerStack::on(Some(Sha256::of(b"base")));
        let others = [
            scratch.with(one).with(two),
            scratch.with(two).with(one),
            scratch.with(two),
            on_base.with(one).with(two),
            on_base,
            scratch,
        ];
        for (index, stack) in others.iter().enumerate() {
            for other in &others[index + 1..] {
                assert_ne!(stack, other);
                assert_ne!(stack.files(), other.files());
            }
        }
    }

    #[test]
    fn layers_made_at_another_time_are_the_same_files() {
        let [early, late] = [5, 6].map(|seconds| LayerStack::default().with(built(1, seconds)));
        assert_ne!(early, late);
        assert_eq!(early.files(), late.files());
        let [early, late] = [early, late].map(|stack| stack.with(built(2, 7)));
        assert_ne!(early, late);
        assert_eq!(early.files(), late.files());
    }

    #[test]
    fn a_deep_stack_ends_on_a_small_thread() {
        let deep = move || {
            let layers = (0..200_000).map(|number| built(number, 0));
            let stack = LayerStack::default().with_all(layers);
            let other = stack.clone();
            drop(stack);
            assert_eq!(other.len(), 200_000);
        };
        let thread = std::thread::Builder::new().stack_size(128 << 10);
        thread.spawn(deep).unwrap().join().unwrap();
    }
}
