//! Root file systems on their way out as plain files, one for each platform.
//!
//! Each has a directory of its own, or several share one. Directories of the same path become one
//! then; anything else of the same path is an error, whatever it holds, because one platform's file
//! would silently stand for the other's.

use std::collections::HashMap;

use kiln_files::GuestPath;
use kiln_oci::Platform;
use kiln_snapshotter::ParentView;
use kiln_tree::NodeKind;

use crate::error::ExportError;

/// A root file system and where it goes.
#[derive(Clone, Debug)]
pub struct ExportRoot<'a> {
    /// What it runs on.
    pub platform: Platform,
    /// A directory for this root alone, or the top.
    pub directory: GuestPath,
    /// The files. Its layers have to be unpacked.
    pub view: &'a ParentView,
}

impl<'a> ExportRoot<'a> {
    /// Returns a root that goes to the top.
    #[must_use]
    pub fn at_top(platform: Platform, view: &'a ParentView) -> Self {
        Self {
            platform,
            directory: GuestPath::ROOT,
            view,
        }
    }

    /// Returns a root that goes to a directory named after its platform, e.g. `linux_arm_v7`.
    #[must_use]
    pub fn apart(platform: Platform, view: &'a ParentView) -> Self {
        Self {
            directory: GuestPath::new(platform.to_string().replace('/', "_")),
            platform,
            view,
        }
    }
}

/// Checks that no root would overwrite what another one brings.
pub(crate) fn check_overlaps(roots: &[ExportRoot<'_>]) -> Result<(), ExportError> {
    // By path: whose it is, and whether it is a directory.
    let mut known: HashMap<GuestPath, (&Platform, bool)> = HashMap::new();
    let shares = |root: &ExportRoot<'_>| {
        let same = roots
            .iter()
            .filter(|other| other.directory == root.directory);
        same.count() > 1
    };
    for root in roots.iter().filter(|root| shares(root)) {
        for located in root.view.walk(&GuestPath::ROOT) {
            let path = root.directory.join(located.entry.path);
            let is_directory = matches!(located.entry.kind, NodeKind::Directory { .. });
            match known.get(&path) {
                Some((_, true)) if is_directory => {}
                Some((first, _)) => {
                    return Err(ExportError::Overwrite {
                        path,
                        first: (*first).clone(),
                        second: root.platform.clone(),
                    });
                }
                None => {
                    known.insert(path, (&root.platform, is_directory));
                }
            }
        }
    }
    Ok(())
}
