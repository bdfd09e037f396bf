//! Views that were looked at last. The next step of a build mostly starts from one more layer.

use std::sync::{Mutex, PoisonError};

use kiln_cache::{BuiltLayer, LayerStack};
use kiln_tree::Blake3;

use crate::view::ParentView;

/// Stages that go on side by side each have one.
const KEPT: usize = 16;

/// Layers that a step adds, or a few: further down it is sooner made anew than looked for.
const FURTHEST: usize = 8;

/// Views that nobody uses now, the oldest first, each with the digest of its stack.
#[derive(Debug, Default)]
pub struct RecentViews(Mutex<Vec<(Blake3, ParentView)>>);

impl RecentViews {
    /// Takes the view of a stack that was given back before, or of one with fewer layers; also returns
    /// the layers that it lacks, the lowest first. None if there is none.
    #[must_use]
    pub fn take(&self, stack: &LayerStack) -> Option<(ParentView, Vec<BuiltLayer>)> {
        let mut views = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if views.is_empty() {
            return None;
        }
        let mut lacking = Vec::new();
        for lower in stack.down().take(FURTHEST) {
            let files = lower.files();
            if let Some(position) = views.iter().rposition(|(of, _)| *of == files) {
                lacking.reverse();
                return Some((views.remove(position).1, lacking));
            }
            lacking.push(lower.top()?);
        }
        None
    }

    /// Gives the view of a stack back, for the next that asks for it or for one with more layers.
    pub fn give_back(&self, stack: &LayerStack, view: ParentView) {
        let mut views = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if views.len() == KEPT {
            views.remove(0);
        }
        views.push((stack.files(), view));
    }
}

#[cfg(test)]
mod tests {
    use kiln_oci::Timestamp;
    use kiln_tree::LayerId;

    use super::*;

    fn built(number: u8) -> BuiltLayer {
        BuiltLayer {
            layer: LayerId(Blake3::of(&[number])),
            created: Timestamp::EPOCH,
        }
    }

    #[test]
    fn a_view_is_taken_once_for_its_stack_or_one_on_top_of_it() {
        let views = RecentViews::default();
        let stack = LayerStack::default().with(built(1));
        let higher = stack.with(built(2)).with(built(3));
        assert!(views.take(&stack).is_none());
        views.give_back(&stack, ParentView::default());
        assert!(views.take(&LayerStack::default()).is_none());
        let other = LayerStack::default().with(built(2));
        assert!(views.take(&other).is_none());
        let (_, lacking) = views.take(&higher).unwrap();
        assert_eq!(lacking, [built(2), built(3)]);
        assert!(views.take(&higher).is_none());
        views.give_back(&higher, ParentView::default());
        assert!(views.take(&stack).is_none());
        let (_, lacking) = views.take(&higher).unwrap();
        assert!(lacking.is_empty());
        for number in 0..100 {
            views.give_back(&stack.with(built(number)), ParentView::default());
        }
        assert!(views.take(&stack.with(built(83))).is_none());
        assert!(views.take(&stack.with(built(84))).is_some());
    }
}
