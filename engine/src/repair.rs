//! Blobs that turn out to be damaged on their way out of the store: made again by the same command.
//!
//! No large blob is hashed before it is used; an export hashes what it carries out on the way. A
//! blob that is not what its name says is put aside, and what is to be carried out is put together
//! once more: that packs it from its layer, or fetches it from where it is known to be. Where
//! neither can be done it is put back: for as long as it is there, `kiln cache verify` finds it and
//! says what lacks it.

use std::collections::BTreeSet;
use std::fs;
use std::io;

use kiln_exporter::{ExportError, LayerSource, NamedImage};
use kiln_oci::{ImageRef, Sha256};

use crate::Error;
use crate::error::of_export::export_error;
use crate::storage::damage::{self, Finding};
use crate::stores::Stores;

/// Why something did not get out of the store.
#[derive(Debug)]
pub(crate) enum Undelivered {
    /// A blob is not what its name says.
    Damaged {
        digest: Sha256,
        error: Error,
        receiver: Receiver,
    },
    /// Anything else.
    Otherwise(Error),
}

/// Where it is carried to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Receiver {
    /// It has nothing, or forgets what it has.
    Patient,
    /// It has the beginning, as a pipe has.
    Begun,
}

impl From<ExportError> for Undelivered {
    fn from(error: ExportError) -> Self {
        match error {
            ExportError::Damaged {
                expected: digest, ..
            } => Self::Damaged {
                digest,
                error: export_error(error),
                receiver: Receiver::Patient,
            },
            error => Self::Otherwise(export_error(error)),
        }
    }
}

impl From<Error> for Undelivered {
    fn from(error: Error) -> Self {
        Self::Otherwise(error)
    }
}

impl From<Undelivered> for Error {
    fn from(undelivered: Undelivered) -> Self {
        match undelivered {
            Undelivered::Damaged { error, .. } | Undelivered::Otherwise(error) => error,
        }
    }
}

/// Carries out of the store what `make` puts together, with every damaged blob made again.
pub(crate) fn deliver<T>(
    stores: &Stores,
    tell: &dyn Fn(&str),
    make: impl Fn() -> Result<T, Error>,
    carry: impl Fn(&T) -> Result<(), Undelivered>,
) -> Result<T, Error> {
    let mut made_again = BTreeSet::new();
    let mut made = make()?;
    loop {
        let (digest, error, receiver) = match carry(&made) {
            Ok(()) => return Ok(made),
            Err(Undelivered::Damaged {
                digest,
                error,
                receiver,
            }) if made_again.insert(digest) => (digest, error, receiver),
            Err(error) => return Err(stores.or_cancelled(error.into())),
        };
        made = make_again(stores, digest, &make, error)?;
        tell(&format!("blob {digest} was damaged, and is made again"));
        if receiver == Receiver::Begun {
            let message = format!(
                "cannot export the image: blob {digest} was damaged, which showed when part of \
                 the image was written"
            );
            return Err(Error::environment_stated(message)
                .with_hint("run the command again: the blob was made again"));
        }
    }
}

/// Calls `make` without a blob; if that fails, puts the blob back and returns `damage`.
pub(crate) fn make_again<T>(
    stores: &Stores,
    digest: Sha256,
    make: &impl Fn() -> Result<T, Error>,
    damage: Error,
) -> Result<T, Error> {
    let failed = |error: io::Error| Error::environment("cannot put a blob aside", error);
    let path = stores.blobs.path(digest);
    let aside = stores.store.work_file().map_err(failed)?;
    fs::rename(&path, &aside).map_err(failed)?;
    let made = make();
    if made.is_ok() || stores.blobs.contains(digest) {
        // What stays goes with the rest of `work/`.
        let _ = fs::remove_file(&aside);
    } else {
        fs::rename(&aside, &path).map_err(failed)?;
    }
    made.map_err(|_| match stores.or_cancelled(damage) {
        error @ Error::Environment { .. } => error.with_hint(
            "it cannot be made again from what is here: `kiln cache verify` discards it, then \
             build, pull or load the image again",
        ),
        error => error,
    })
}

/// Says why a registry did not take an image. One that finds that a blob is not what its digest
/// says answers with status 400 (OCI distribution-spec v1.1, "Error Codes", DIGEST_INVALID).
pub(crate) fn undelivered(
    stores: &Stores,
    name: &ImageRef,
    image: &NamedImage,
    error: kiln_registry::Error,
) -> Undelivered {
    let may_be_damaged =
        matches!(&error, kiln_registry::Error::Refused(refusal) if refusal.status == 400);
    let told = Error::registry(Some(name), error);
    if !may_be_damaged {
        return Undelivered::Otherwise(told);
    }
    let mut layers = image.manifests.iter().flat_map(|part| &part.layers);
    let damaged = layers.find_map(|layer| {
        let digest = layer.descriptor.digest;
        let is_stored = matches!(layer.source, LayerSource::Stored(_));
        let finding = is_stored
            .then(|| damage::look_at_blob(stores, digest))
            .flatten();
        match finding {
            Some(Finding::Damaged(what)) => Some((digest, what)),
            Some(Finding::Unreadable(_)) | None => None,
        }
    });
    match damaged {
        Some((digest, what)) => Undelivered::Damaged {
            digest,
            error: Error::environment_stated(format!(
                "cannot push {name}: blob {digest} is damaged: {what}"
            )),
            receiver: Receiver::Patient,
        },
        None => Undelivered::Otherwise(told),
    }
}
