//! From a name to a digest, and from a digest to a manifest's bytes.

use kiln_cache::BlobError;
use kiln_oci::{
    Descriptor, Document, ImageRef, LARGEST_MANIFEST, MediaKind, Sha256, TaggedRef, is_schema1,
};
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Method, StatusCode};

use crate::answer::HttpAnswer;
use crate::auth::scope::Scopes;
use crate::call::{RegistryCall, Repeat};
use crate::endpoint::Endpoint;
use crate::error::Error;
use crate::manifest::ManifestError;
use crate::origin::Downgrade;
use crate::refusal::Action;
use crate::registries_conf::Asked;
use crate::session::RegistrySession;
use crate::url_text::authority;

/// All four, or old registries convert or hide what they have; `*/*` for artifacts.
const MANIFEST_TYPES: &str = "application/vnd.oci.image.index.v1+json, \
    application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, \
    application/vnd.docker.distribution.manifest.v2+json, */*";

/// What a name means at the moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// The manifest or index.
    pub descriptor: Descriptor,
    /// Its bytes, if they came with the answer; verified.
    pub bytes: Option<Vec<u8>>,
    /// Host and path of the registry or mirror that knew.
    pub source: String,
}

impl RegistrySession {
    /// Finds out what a name means.
    pub(crate) fn resolve(&self, name: &TaggedRef) -> Result<Resolved, Error> {
        let asked = match name.digest() {
            Some(_) => Asked::ByDigest,
            None => Asked::ByTag,
        };
        self.anywhere(name, asked, |endpoint| self.resolve_at(endpoint, name))
    }

    fn resolve_at(&self, endpoint: &Endpoint, name: &TaggedRef) -> Result<Resolved, Error> {
        let reference = name.selector();
        let scopes = Scopes::pull(&endpoint.repository);
        if let Some(descriptor) = self.head_manifest(endpoint, &reference, &scopes)? {
            let expected = name.digest().unwrap_or(descriptor.digest);
            return if descriptor.digest == expected {
                Ok(Resolved {
                    descriptor,
                    bytes: None,
                    source: endpoint.name(),
                })
            } else {
                Err(mismatch(expected, descriptor.digest))
            };
        }
        // No HEAD, or half an answer to it; GET also brings the words of a refusal.
        let answer = self.get_manifest(endpoint, &reference)?;
        if answer.status != StatusCode::OK {
            return Err(answer
                .into_refusal(Action::Manifest(name.familiar()))
                .into());
        }
        let content_type = answer.header(CONTENT_TYPE).map(str::to_owned);
        // Of schema 1 the digest is of other bytes; it is refused further on.
        let told = answer
            .header("docker-content-digest")
            .filter(|_| !content_type.as_deref().is_some_and(is_schema1))
            .and_then(|text| text.parse().ok());
        let bytes = read_manifest(answer, name)?;
        let digest = Sha256::of(&bytes);
        if let Some(expected) = name.digest().or(told)
            && expected != digest
        {
            return Err(mismatch(expected, digest));
        }
        let manifest =
            Document::parse(&bytes, content_type.as_deref()).map_err(ManifestError::from)?;
        Ok(Resolved {
            descriptor: Descriptor::new(manifest.media_type(), digest, bytes.len() as u64),
            bytes: Some(bytes),
            source: endpoint.name(),
        })
    }

    /// Returns what HEAD tells, or none if that is not enough.
    pub(crate) fn head_manifest(
        &self,
        endpoint: &Endpoint,
        reference: &str,
        scopes: &Scopes,
    ) -> Result<Option<Descriptor>, Error> {
        let answer = match self.call(&manifest_call(endpoint, Method::HEAD, reference, scopes)) {
            Err(error) if error.is_transient() => return Ok(None),
            other => other?,
        };
        let (Some(digest), Some(size_bytes), Some(content_type)) = (
            answer
                .header("docker-content-digest")
                .and_then(|text| text.parse().ok()),
            answer.content_length(),
            answer.header(CONTENT_TYPE),
        ) else {
            return Ok(None);
        };
        let essence = content_type.split(';').next().unwrap_or("").trim();
        let known = matches!(
            MediaKind::of(essence),
            MediaKind::Index | MediaKind::Manifest
        );
        let whole = answer.status == StatusCode::OK && known && size_bytes > 0;
        Ok(whole.then(|| Descriptor::new(essence, digest, size_bytes)))
    }

    fn get_manifest(&self, endpoint: &Endpoint, reference: &str) -> Result<HttpAnswer, Error> {
        let scopes = Scopes::pull(&endpoint.repository);
        self.call(&manifest_call(endpoint, Method::GET, reference, &scopes))
    }

    /// Fetches a manifest by digest and verifies it.
    pub(crate) fn fetch_manifest(
        &self,
        name: &ImageRef,
        descriptor: &Descriptor,
    ) -> Result<Vec<u8>, Error> {
        let too_large = || ManifestError::TooLarge {
            name: name.familiar(),
        };
        if descriptor.size_bytes > LARGEST_MANIFEST {
            return Err(too_large().into());
        }
        self.anywhere(name, Asked::ByDigest, |endpoint| {
            let answer = self.get_manifest(endpoint, &descriptor.digest.to_string())?;
            if answer.status != StatusCode::OK {
                let name = name.with_digest(descriptor.digest).familiar();
                return Err(answer.into_refusal(Action::Manifest(name)).into());
            }
            let bytes = read_manifest(answer, name)?;
            let actual = bytes.len() as u64;
            if actual != descriptor.size_bytes {
                return Err(BlobError::Size {
                    digest: descriptor.digest,
                    expected: descriptor.size_bytes,
                    actual,
                }
                .into());
            }
            match Sha256::of(&bytes) {
                digest if digest == descriptor.digest => Ok(bytes),
                digest => Err(mismatch(descriptor.digest, digest)),
            }
        })
    }
}

fn manifest_call<'a>(
    endpoint: &'a Endpoint,
    method: Method,
    reference: &str,
    scopes: &'a Scopes,
) -> RegistryCall<'a> {
    let path = format!("/v2/{}/manifests/{reference}", endpoint.repository);
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT, HeaderValue::from_static(MANIFEST_TYPES));
    // GET follows where HEAD fails, so HEAD itself is not worth waiting for.
    let repeat = match method {
        Method::HEAD => Repeat::No,
        _ => Repeat::Yes,
    };
    RegistryCall {
        headers,
        repeat,
        // A tag has no colon. What it means is believed because of who says it.
        downgrade: if reference.contains(':') {
            Downgrade::Allowed
        } else {
            Downgrade::Refused
        },
        ..RegistryCall::new(endpoint, method, path, scopes)
    }
}

fn read_manifest(mut answer: HttpAnswer, name: &ImageRef) -> Result<Vec<u8>, Error> {
    let limit = usize::try_from(LARGEST_MANIFEST).expect("4 MiB fit the address space");
    let announced = answer.content_length();
    let bytes = answer.body.read_up_to(limit + 1)?;
    if bytes.len() > limit {
        return Err(ManifestError::TooLarge {
            name: name.familiar(),
        }
        .into());
    }
    match announced {
        Some(length) if length != bytes.len() as u64 => Err(Error::Protocol {
            host: authority(&answer.url),
            problem: "sent a manifest of another length than it announced",
        }),
        _ => Ok(bytes),
    }
}

fn mismatch(expected: Sha256, actual: Sha256) -> Error {
    BlobError::Mismatch { expected, actual }.into()
}
