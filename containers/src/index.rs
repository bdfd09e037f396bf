//! Containers by what people call them, read once for many questions.

use std::collections::HashMap;
use std::sync::OnceLock;

use crate::{Container, ContainerError};

/// The containers that there were when it was made.
#[derive(Debug)]
pub struct ContainerIndex {
    /// By id.
    all: Vec<Container>,
    /// Where each name leads in `all`; read when a question is about a name.
    names: OnceLock<HashMap<String, usize>>,
}

impl ContainerIndex {
    /// Makes an index of containers that are sorted by id.
    pub(crate) fn of(all: Vec<Container>) -> Self {
        Self {
            all,
            names: OnceLock::new(),
        }
    }

    /// Finds a container by id, name or the beginning of its id, in this order.
    ///
    /// # Errors
    /// There is none, or more than one.
    pub fn find(&self, reference: &str) -> Result<Container, ContainerError> {
        let begin = self
            .all
            .partition_point(|container| container.id().as_str() < reference);
        let matching = &self.all[begin..];
        let is_meant = |container: &&Container| container.id().as_str().starts_with(reference);
        if let Some(exact) = matching.first()
            && exact.id().as_str() == reference
        {
            return Ok(exact.clone());
        }
        let name = reference.strip_prefix('/').unwrap_or(reference);
        if let Some(&position) = self.names().get(name) {
            return Ok(self.all[position].clone());
        }
        let mut matching = matching.iter().take_while(is_meant);
        match (matching.next(), matching.next()) {
            (Some(only), None) if !reference.is_empty() => Ok(only.clone()),
            (Some(_), Some(_)) if !reference.is_empty() => {
                Err(ContainerError::Ambiguous(reference.to_owned()))
            }
            _ => Err(ContainerError::NotFound(reference.to_owned())),
        }
    }

    fn names(&self) -> &HashMap<String, usize> {
        self.names.get_or_init(|| {
            let all = self.all.iter().enumerate();
            // One that was removed meanwhile has no name.
            all.filter_map(|(position, container)| {
                Some((container.name().ok()?.as_str().to_owned(), position))
            })
            .collect()
        })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::Containers;

    #[test]
    fn ids_go_before_names_and_names_before_beginnings_of_ids() {
        let scratch = kiln_testbed::Scratch::new();
        let id = |digit: &str, last: &str| format!("{}{last}", digit.repeat(63));
        let ids = [id("a", "1"), id("a", "2"), id("b", "1"), id("c", "1")];
        // One is called like the beginning of another's id, one like another's whole id.
        let names = ["one", "two", "ccc", ids[0].as_str()];
        for (id, name) in ids.iter().zip(names) {
            fs::create_dir(scratch.join(id)).unwrap();
            fs::write(scratch.join(id).join("name"), name).unwrap();
        }
        let index = Containers::open(scratch.path()).unwrap().index().unwrap();
        let found = |reference: &str| match index.find(reference) {
            Ok(container) => ids.iter().position(|id| container.id().as_str() == id),
            Err(ContainerError::Ambiguous(_)) => Some(90),
            Err(ContainerError::NotFound(_)) => None,
            Err(error) => panic!("{error}"),
        };
        for (reference, expected) in [
            (ids[0].as_str(), Some(0)),
            (ids[1].as_str(), Some(1)),
            ("two", Some(1)),
            ("/two", Some(1)),
            ("ccc", Some(2)),
            ("cc", Some(3)),
            ("b", Some(2)),
            ("a", Some(90)),
            ("", None),
            ("d", None),
            ("tw", None),
        ] {
            assert_eq!(found(reference), expected, "{reference}");
        }
    }
}
