//! Files behind URLs.
//!
//! A record says what a URL stood for, the content is a blob. Every build asks again, with what the
//! server called the version it gave (its entity tag); `304 Not Modified` means that the blob still
//! serves. A date does not tell one version from another: servers say 304 for a file that is older
//! now. Content that is named by a checksum is not asked for while it is here.

use std::io::{Read as _, Write as _};

use kiln_cache::{BlobError, DownloadRecord};
use kiln_files::GuestPath;
use kiln_oci::{Sha256, Timestamp};
use kiln_parser::Address;
use kiln_registry::{ErrorClass, FetchOptions, Fetched, Secret};
use kiln_snapshotter::{FileContent, Layer, LayerBuilder, Metadata, is_archive};
use kiln_solver::{Fault, RemoteError, RemoteFile, RemoteIdentity, Vertex};
use kiln_threads::Stop;

use super::checksum::Checksum;
use crate::error::chain;
use crate::remote_sources::sources::{
    RemoteSources, cancelled, identity_digest, input, local, shown,
};
use crate::remote_sources::{authorization, turn};

/// Bytes read at once.
const CHUNK: usize = 128 << 10;

impl RemoteSources<'_> {
    pub(super) fn identify_download(
        &self,
        download: &RemoteFile,
        vertex: &Vertex<'_>,
        stop: &Stop,
    ) -> Result<RemoteIdentity, RemoteError> {
        let Some(checksum) = &download.checksum else {
            let record = self.download(&download.url, vertex, stop)?;
            let time = record.modified();
            return Ok(RemoteIdentity {
                digest: identity_digest("download", |encoder| {
                    let modified = time.unwrap_or(Timestamp::EPOCH);
                    encoder
                        .text(&download.file_name)
                        .digest(record.content.as_bytes())
                        .number(modified.seconds.cast_unsigned());
                }),
                time,
                revision: record.content.hex(),
            });
        };
        // What it is, is known; when it was made, perhaps.
        let checksum = Checksum::parse(checksum)?;
        let here = self.at_hand(&download.url, &checksum)?;
        Ok(RemoteIdentity {
            digest: identity_digest("checksum", |encoder| {
                encoder
                    .text(&download.file_name)
                    .text(&checksum.to_string());
            }),
            time: here.and_then(|(_, time)| time),
            revision: checksum.hex(),
        })
    }

    pub(super) fn fetch_download(
        &self,
        download: &RemoteFile,
        identity: &RemoteIdentity,
        vertex: &Vertex<'_>,
        stop: &Stop,
    ) -> Result<Layer, RemoteError> {
        let (content, time) = self.content(download, identity, vertex, stop)?;
        // Without a checksum, the identity speaks of the time too.
        let time = match download.checksum {
            None => identity.time,
            Some(_) => identity.time.or(time),
        };
        let time = time.unwrap_or(Timestamp::EPOCH);
        self.layer_of_download(&download.file_name, content, time)
    }

    /// Returns when a download was made that was identified: what the server says, or, of an
    /// archive, the time of its newest file. None if neither says anything.
    pub(crate) fn time_of_download(
        &self,
        download: &RemoteFile,
        identity: &RemoteIdentity,
        vertex: &Vertex<'_>,
        stop: &Stop,
    ) -> Result<Option<Timestamp>, RemoteError> {
        if identity.time.is_some() {
            return Ok(identity.time);
        }
        let (content, time) = self.content(download, identity, vertex, stop)?;
        let open = || self.stores.blobs.open(content).map_err(stored);
        if time.is_some() || !is_archive(open()?) {
            return Ok(time);
        }
        let unpacked = self.stores.layers.unpack_aside(open()?);
        // What begins as an archive and is none has no time either.
        Ok(unpacked.ok().and_then(|archive| archive.newest()))
    }

    /// Fetches the content of an identified download, unless it is here; returns it with the time
    /// that the server gave.
    fn content(
        &self,
        download: &RemoteFile,
        identity: &RemoteIdentity,
        vertex: &Vertex<'_>,
        stop: &Stop,
    ) -> Result<(Sha256, Option<Timestamp>), RemoteError> {
        let checksum = match &download.checksum {
            Some(checksum) => Checksum::parse(checksum)?,
            None => Sha256::from_hex(&identity.revision)
                .map(Checksum::Sha256)
                .map_err(local("cannot use a download's identity"))?,
        };
        if let Some(here) = self.at_hand(&download.url, &checksum)? {
            return Ok(here);
        }
        let record = self.ask(&download.url, Some(&checksum), vertex, stop)?;
        Ok((record.content, record.modified()))
    }

    /// Fetches what a URL stands for now into the blobs.
    ///
    /// # Errors
    /// When it cannot be fetched.
    pub(crate) fn download(
        &self,
        url: &str,
        vertex: &Vertex<'_>,
        stop: &Stop,
    ) -> Result<DownloadRecord, RemoteError> {
        let _turn = turn::take(&self.stores.store, "download", url, stop)?;
        self.ask(url, None, vertex, stop)
    }

    /// Returns content that is here already, and its time if it was downloaded from this URL.
    fn at_hand(
        &self,
        url: &str,
        checksum: &Checksum,
    ) -> Result<Option<(Sha256, Option<Timestamp>)>, RemoteError> {
        let blobs = &self.stores.blobs;
        if let Some(record) = self.known(url) {
            let open = || blobs.open(record.content).map_err(std::io::Error::other);
            if checksum
                .matches(record.content, open)
                .map_err(local("cannot read a download"))?
            {
                return Ok(Some((record.content, record.modified())));
            }
        }
        Ok(match checksum {
            Checksum::Sha256(digest) if blobs.contains(*digest) => Some((*digest, None)),
            _ => None,
        })
    }

    /// Returns what the URL stood for, if the content is still here.
    fn known(&self, url: &str) -> Option<DownloadRecord> {
        let record = self.stores.downloads.get(url)?;
        let size_bytes = self.stores.blobs.size(record.content);
        (size_bytes == Some(record.size_bytes)).then_some(record)
    }

    /// Asks the server. Content that must have a checksum is taken whole.
    fn ask(
        &self,
        url: &str,
        checksum: Option<&Checksum>,
        vertex: &Vertex<'_>,
        stop: &Stop,
    ) -> Result<DownloadRecord, RemoteError> {
        let known = self.known(url).filter(|_| checksum.is_none());
        let authorization = authorization::for_download(url, self.secrets)?;
        let options = FetchOptions {
            etag: known.as_ref().and_then(|record| record.etag.clone()),
            authorization: authorization.clone(),
        };
        let failed = |error: &_| fetch_error(error, url, authorization.as_ref());
        // What stands before the `@` goes into a header, not to the server as it is.
        let Address {
            scheme,
            authority,
            rest,
            ..
        } = Address::of(url);
        let plain = format!("{scheme}://{authority}{rest}");
        let fetched = self.outside.client.fetch(&plain, &options);
        let mut download = match fetched.map_err(|error| failed(&error))? {
            Fetched::Download(download) => download,
            Fetched::NotModified => {
                return known.ok_or_else(|| input("invalid response status 304"));
            }
        };
        let part = shown(url);
        let mut writer = self.stores.blobs.writer().map_err(stored)?;
        let mut hasher = checksum.and_then(Checksum::hasher);
        let mut buffer = vec![0; CHUNK];
        let mut done = 0;
        loop {
            if stop.is_asked() {
                return Err(cancelled());
            }
            let count = match download.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) => {
                    return Err(match kiln_registry::Error::from_io(error) {
                        Ok(error) => failed(&error),
                        Err(error) => local("cannot download")(error),
                    });
                }
            };
            writer
                .write_all(&buffer[..count])
                .map_err(local("cannot write to the state directory"))?;
            if let Some(hasher) = &mut hasher {
                hasher.update(&buffer[..count]);
            }
            done += count as u64;
            vertex.status(&part, done, download.size_bytes, false);
        }
        vertex.status(&part, done, download.size_bytes, true);
        if let (Some(hasher), Some(expected)) = (hasher, checksum) {
            let actual = hasher.finish();
            if actual != *expected {
                return Err(input(format!("digest mismatch {actual}: {expected}")));
            }
        }
        let expected = match checksum {
            Some(Checksum::Sha256(digest)) => Some(*digest),
            _ => None,
        };
        let (content, size_bytes) = writer.finish(expected).map_err(stored)?;
        let record = DownloadRecord {
            content,
            size_bytes,
            etag: download.etag,
            last_modified: download.last_modified,
            downloaded: Timestamp::now(),
        };
        self.stores
            .downloads
            .set(url, &record)
            .map_err(local("cannot write to the state directory"))?;
        Ok(record)
    }

    fn layer_of_download(
        &self,
        file_name: &str,
        content: Sha256,
        time: Timestamp,
    ) -> Result<Layer, RemoteError> {
        let path = GuestPath::new(file_name);
        if path.is_root() {
            return Err(input(format!("{file_name:?} is not the name of a file")));
        }
        let blob = self.stores.blobs.open(content).map_err(stored)?;
        let made = self.stores.layers.builder().map_err(local(MAKING))?;
        // Mode 0600 of root: docs/spec/dockerfile.md 7.7.
        let metadata = Metadata::root_owned(0o600, time);
        made.add_file(&path, &metadata, FileContent::File(&blob))
            .and_then(|_| LayerBuilder::finish(made))
            .map_err(local(MAKING))
    }
}

const MAKING: &str = "cannot make a layer of a download";

fn stored(error: BlobError) -> RemoteError {
    match error {
        BlobError::Mismatch { expected, actual } => {
            input(format!("digest mismatch {actual}: {expected}"))
        }
        other => local("cannot store a download")(other),
    }
}

fn fetch_error(
    error: &kiln_registry::Error,
    url: &str,
    authorization: Option<&Secret>,
) -> RemoteError {
    let message = chain(error);
    match error.class() {
        ErrorClass::Unauthorized if authorization.is_none() => {
            let host = Address::of(url).authority;
            input(format!(
                "{message}: give the server a token with --secret id=HTTP_AUTH_TOKEN_{host}"
            ))
        }
        ErrorClass::NotFound | ErrorClass::Unauthorized | ErrorClass::Configuration => {
            input(message)
        }
        _ => RemoteError {
            message,
            fault: Fault::Environment,
        },
    }
}
