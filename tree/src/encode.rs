//! The one written encoding of everything that enters a key.
//!
//! A value is fed to a hasher as a sequence of tagged, length-prefixed fields, so two different
//! values can never produce the same bytes: `("ab", "c")` and `("a", "bc")` differ, and so do an
//! absent and an empty text. Integers are little-endian and of fixed width. Maps are fed in key
//! order. Nothing here depends on `Debug`, JSON or the order of a hash map.

use crate::Blake3;

/// Bytes that are hashed at once: fields are short, and BLAKE3 is several times as fast on long input.
const BLOCK: usize = 16 << 10;

/// Feeds fields to a BLAKE3 hasher.
#[derive(Clone, Debug)]
pub struct Encoder {
    hasher: blake3::Hasher,
    /// Fields that were not hashed yet.
    pending: Vec<u8>,
}

impl Encoder {
    /// Starts an encoding. `domain` says what kind of value is named and in which version of the
    /// encoding, e.g. `"kiln.run.1"`.
    #[must_use]
    pub fn new(domain: &str) -> Self {
        let mut encoder = Self {
            hasher: blake3::Hasher::new(),
            pending: Vec::new(),
        };
        encoder.bytes(domain.as_bytes());
        encoder
    }

    /// Feeds a byte string.
    pub fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.feed(&(bytes.len() as u64).to_le_bytes());
        self.feed(bytes);
        self
    }

    /// Feeds a text.
    pub fn text(&mut self, text: &str) -> &mut Self {
        self.bytes(text.as_bytes())
    }

    /// Feeds a number.
    pub fn number(&mut self, number: u64) -> &mut Self {
        self.feed(&number.to_le_bytes());
        self
    }

    /// Feeds a truth value.
    pub fn flag(&mut self, flag: bool) -> &mut Self {
        self.number(u64::from(flag))
    }

    /// Feeds a digest.
    pub fn digest(&mut self, digest: &[u8; 32]) -> &mut Self {
        self.feed(digest);
        self
    }

    /// Feeds any value with an encoding.
    pub fn value(&mut self, value: &(impl Encode + ?Sized)) -> &mut Self {
        value.encode(self);
        self
    }

    /// Feeds a sequence: its length, then each item.
    pub fn sequence<'a, T: Encode + 'a>(
        &mut self,
        items: impl IntoIterator<Item = &'a T, IntoIter: ExactSizeIterator>,
    ) -> &mut Self {
        let items = items.into_iter();
        self.number(items.len() as u64);
        for item in items {
            item.encode(self);
        }
        self
    }

    /// Feeds an optional value; absent and empty differ.
    pub fn optional<T: Encode>(&mut self, value: Option<&T>) -> &mut Self {
        match value {
            None => self.number(0),
            Some(value) => self.number(1).value(value),
        }
    }

    /// Returns the digest of everything fed.
    #[must_use]
    pub fn finish(&self) -> Blake3 {
        let mut hasher = self.hasher.clone();
        hasher.update(&self.pending);
        hasher.finalize().into()
    }

    fn feed(&mut self, bytes: &[u8]) {
        self.pending.extend_from_slice(bytes);
        if self.pending.len() >= BLOCK {
            self.hasher.update(&self.pending);
            self.pending.clear();
        }
    }
}

/// A value with a written encoding.
pub trait Encode {
    /// Feeds the value to the encoder.
    fn encode(&self, encoder: &mut Encoder);
}

impl Encode for str {
    fn encode(&self, encoder: &mut Encoder) {
        encoder.text(self);
    }
}

impl Encode for String {
    fn encode(&self, encoder: &mut Encoder) {
        encoder.text(self);
    }
}

impl Encode for u64 {
    fn encode(&self, encoder: &mut Encoder) {
        encoder.number(*self);
    }
}

impl Encode for Blake3 {
    fn encode(&self, encoder: &mut Encoder) {
        encoder.digest(self.as_bytes());
    }
}

impl Encode for kiln_oci::Sha256 {
    fn encode(&self, encoder: &mut Encoder) {
        encoder.digest(self.as_bytes());
    }
}

impl Encode for kiln_files::GuestPath {
    fn encode(&self, encoder: &mut Encoder) {
        encoder.bytes(self.as_bytes());
    }
}

impl<T: Encode, U: Encode> Encode for (T, U) {
    fn encode(&self, encoder: &mut Encoder) {
        self.0.encode(encoder);
        self.1.encode(encoder);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(feed: impl Fn(&mut Encoder)) -> String {
        let mut encoder = Encoder::new("test.1");
        feed(&mut encoder);
        encoder.finish().hex()
    }

    #[test]
    fn every_kind_of_value_enters() {
        let empty = key(|_| {});
        for (one, other) in [
            (key(|e| e_of(e, &1_u64)), key(|e| e_of(e, &2_u64))),
            (
                key(|e| e_of(e, &"a".to_owned())),
                key(|e| e_of(e, &"b".to_owned())),
            ),
            (
                key(|e| e_of(e, &Blake3::of(b"a"))),
                key(|e| e_of(e, &Blake3::of(b"b"))),
            ),
            (
                key(|e| e_of(e, &kiln_oci::Sha256::of(b"a"))),
                key(|e| e_of(e, &kiln_oci::Sha256::of(b"b"))),
            ),
            (
                key(|e| e_of(e, &kiln_files::GuestPath::new("/a"))),
                key(|e| e_of(e, &kiln_files::GuestPath::new("/b"))),
            ),
            (
                key(|e| e_of(e, &(1_u64, "a".to_owned()))),
                key(|e| e_of(e, &(1_u64, "b".to_owned()))),
            ),
        ] {
            assert_ne!(one, other);
            assert_ne!(one, empty);
        }
    }

    fn e_of(encoder: &mut Encoder, value: &impl Encode) {
        value.encode(encoder);
    }

    #[test]
    fn neighbouring_fields_never_run_together() {
        assert_ne!(
            key(|e| {
                e.text("ab").text("c");
            }),
            key(|e| {
                e.text("a").text("bc");
            })
        );
        assert_ne!(
            key(|e| {
                e.optional::<String>(None);
            }),
            key(|e| {
                e.optional(Some(&String::new()));
            })
        );
        assert_ne!(
            key(|e| {
                e.sequence(&["a".to_owned()]).sequence::<String>(&[]);
            }),
            key(|e| {
                e.sequence::<String>(&[]).sequence(&["a".to_owned()]);
            })
        );
    }

    /// A frozen sample: if it changes, every key of every store changes with it, so the format
    /// version must be raised in the same commit.
    #[test]
    fn the_encoding_is_frozen() {
        let sample = key(|e| {
            e.text("RUN")
                .number(7)
                .flag(true)
                .sequence(&["a".to_owned(), "b".to_owned()]);
            e.optional(Some(&"x".to_owned()));
        });
        assert_eq!(
            sample,
            "38ba81e6f4424868f955e34b75ef735ccd78cea2701ffbb512f378571f4db42c"
        );
    }
}
