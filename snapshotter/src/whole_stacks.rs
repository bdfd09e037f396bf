//! Whether all layers of a stack are here, asked of each stack of a build: one more layer than the
//! last one had.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use kiln_cache::LayerStack;
use kiln_tree::{Blake3, LayerId};

/// The stacks of which all layers were found, so that what they have in common is looked at once.
#[derive(Debug, Default)]
pub(crate) struct WholeStacks(Mutex<HashSet<Blake3>>);

impl WholeStacks {
    /// Says whether `has` holds for every layer above the base.
    pub(crate) fn are_all(&self, stack: &LayerStack, has: impl Fn(LayerId) -> bool) -> bool {
        let set = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut found = Vec::new();
        for stack in stack.down() {
            let Some(top) = stack.top() else {
                break;
            };
            if set().contains(&stack.files()) {
                break;
            }
            if !has(top.layer) {
                return false;
            }
            found.push(stack.files());
        }
        set().extend(found);
        true
    }

    /// Forgets everything, since a layer is gone.
    pub(crate) fn forget(&self) {
        let mut set = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        set.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use kiln_cache::BuiltLayer;
    use kiln_oci::Timestamp;

    use super::*;

    fn id(number: u8) -> LayerId {
        LayerId(Blake3::of(&[number]))
    }

    fn stack(numbers: &[u8]) -> LayerStack {
        let built = numbers.iter().map(|number| BuiltLayer {
            layer: id(*number),
            created: Timestamp::EPOCH,
        });
        LayerStack::default().with_all(built)
    }

    #[test]
    fn layers_below_a_stack_that_was_found_are_not_looked_at_again() {
        let whole = WholeStacks::default();
        let asked = RefCell::new(Vec::new());
        let has = |layer| {
            asked.borrow_mut().push(layer);
            layer != id(9)
        };
        assert!(whole.are_all(&stack(&[1, 2]), has));
        assert!(whole.are_all(&stack(&[1, 2, 3]), has));
        assert!(!whole.are_all(&stack(&[1, 2, 9]), has));
        assert!(!whole.are_all(&stack(&[1, 2, 9, 4]), has));
        let expected = [2, 1, 3, 9, 4, 9].map(id);
        assert_eq!(asked.take(), expected);
        whole.forget();
        assert!(whole.are_all(&stack(&[1]), has));
        assert_eq!(asked.take(), [id(1)]);
    }
}
