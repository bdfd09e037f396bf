//! Downloads by URL: the answer of the server when it was asked last.
//!
//! One small JSON file for each URL, named by the URL's hash and replaced by rename; the content is
//! a blob. The URL itself is not written down: what is behind its question mark may be a signature.
//! A record whose blob is gone is worth nothing, and one that is lost costs a download.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::Store;
use kiln_oci::{Sha256, Timestamp};
use kiln_tree::Blake3;

/// The downloads that a state directory remembers.
#[derive(Clone, Debug)]
pub struct Downloads {
    store: Store,
}

/// The answer of a server for a URL.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DownloadRecord {
    /// The content.
    pub content: Sha256,
    /// Its length in bytes.
    pub size_bytes: u64,
    /// The server's name for this version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
    /// When the server says that it was changed last, in its own words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_modified: Option<String>,
    /// When it was downloaded.
    pub downloaded: Timestamp,
}

impl Downloads {
    /// Returns the downloads of `store`.
    #[must_use]
    pub fn new(store: &Store) -> Self {
        Self {
            store: store.clone(),
        }
    }

    /// Returns what is known about a URL. What cannot be read is not known.
    #[must_use]
    pub fn get(&self, url: &str) -> Option<DownloadRecord> {
        serde_json::from_slice(&fs::read(self.path(url)).ok()?).ok()
    }

    /// Remembers what a URL stands for now.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn set(&self, url: &str, record: &DownloadRecord) -> io::Result<()> {
        let path = self.path(url);
        let temporary = self.store.work_file()?;
        let bytes = serde_json::to_vec(record).expect("a record has text keys only");
        fs::write(&temporary, bytes)?;
        match fs::rename(&temporary, &path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                fs::create_dir_all(path.parent().expect("records lie below the root"))?;
                fs::rename(&temporary, &path)
            }
            other => other,
        }
    }

    fn path(&self, url: &str) -> PathBuf {
        let hex = Blake3::of(url.as_bytes()).hex();
        self.store.path(format!("downloads/{}/{hex}", &hex[..2]))
    }
}

impl DownloadRecord {
    /// Returns `last_modified` as a point in time.
    #[must_use]
    pub fn modified(&self) -> Option<Timestamp> {
        Timestamp::from_http_date(self.last_modified.as_deref()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_found_by_its_url_alone() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let downloads = Downloads::new(&store);
        let url = "https://h/x?signature=secret";
        assert_eq!(downloads.get(url), None);
        let record = DownloadRecord {
            content: Sha256::of(b"x"),
            size_bytes: 1,
            etag: Some("\"e\"".to_owned()),
            last_modified: Some("Wed, 21 Oct 2015 07:28:00 GMT".to_owned()),
            downloaded: Timestamp::from_seconds(1_500_000_000),
        };
        downloads.set(url, &record).unwrap();
        assert_eq!(downloads.get(url), Some(record.clone()));
        assert_eq!(downloads.get("https://h/x"), None);
        assert_eq!(
            record.modified(),
            Some(Timestamp::from_seconds(1_445_412_480))
        );
        let text = fs::read_to_string(downloads.path(url)).unwrap();
        assert!(!text.contains("secret"), "{text}");
        fs::write(downloads.path(url), "{").unwrap();
        assert_eq!(downloads.get(url), None);
    }
}
