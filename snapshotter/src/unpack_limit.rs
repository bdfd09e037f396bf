//! A limit on the bytes that a packed stream may unpack to.
//!
//! A kilobyte can unpack to a gigabyte, and a header alone can speak of a file of petabytes that is
//! all hole. Images that hold something do not do that: they unpack to a few times their size. So
//! what is unpacked may be as large as it likes in proportion to what was packed, or small in
//! itself, but not both far larger and large.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A limit on the bytes that a blob or archive unpacks to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnpackLimit {
    /// Bytes that may come of however few.
    pub bytes: u64,
    /// More than those only up to so many times the packed bytes.
    pub ratio: u64,
}

impl Default for UnpackLimit {
    /// Images of programs unpack to two to five times their size, logs to twenty times; what gzip
    /// can make at most of anything is 1032 times.
    fn default() -> Self {
        Self {
            bytes: 4 << 30,
            ratio: 200,
        }
    }
}

impl UnpackLimit {
    /// However much it is.
    pub const NONE: Self = Self {
        bytes: u64::MAX,
        ratio: u64::MAX,
    };
}

/// More came of an archive than may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "it unpacks to more than {unpacked} bytes, of {packed} packed ones so far; beyond {} bytes no more than {} times as much is unpacked",
    .limit.bytes,
    .limit.ratio
)]
pub struct TooMuch {
    /// Bytes of the archive that were read.
    pub packed: u64,
    /// Bytes that came of them.
    pub unpacked: u64,
    /// What was allowed.
    pub limit: UnpackLimit,
}

impl TooMuch {
    /// Returns the one among the causes of an error.
    #[must_use]
    pub fn among(error: &(dyn std::error::Error + 'static)) -> Option<Self> {
        let mut next = Some(error);
        while let Some(error) = next {
            let inner = error
                .downcast_ref::<io::Error>()
                .and_then(io::Error::get_ref);
            let inner = inner.and_then(|inner| inner.downcast_ref::<Self>());
            if let Some(found) = inner.or_else(|| error.downcast_ref::<Self>()) {
                return Some(*found);
            }
            next = error.source();
        }
        None
    }
}

/// Counts what goes into a decompressor and what comes out; clones count together.
#[derive(Clone, Debug)]
pub(crate) struct Meter {
    limit: UnpackLimit,
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    packed: AtomicU64,
    unpacked: AtomicU64,
}

impl Meter {
    pub(crate) fn new(limit: UnpackLimit) -> Self {
        Self {
            limit,
            counts: Arc::default(),
        }
    }

    /// Counts what is read of the archive.
    pub(crate) fn packed<R>(&self, inner: R) -> CountPacked<R> {
        CountPacked {
            inner,
            meter: self.clone(),
        }
    }

    /// Counts what is read of its content.
    pub(crate) fn unpacked<R>(&self, inner: R) -> CountUnpacked<R> {
        CountUnpacked {
            inner,
            meter: self.clone(),
        }
    }

    /// Counts bytes of content that may be made.
    ///
    /// # Errors
    /// [`TooMuch`], when they may not.
    pub(crate) fn add(&self, bytes: u64) -> io::Result<()> {
        let before = self.counts.unpacked.load(Ordering::Relaxed);
        let unpacked = before.saturating_add(bytes);
        self.counts.unpacked.store(unpacked, Ordering::Relaxed);
        if unpacked <= self.limit.bytes {
            return Ok(());
        }
        let packed = self.counts.packed.load(Ordering::Relaxed);
        if unpacked <= packed.saturating_mul(self.limit.ratio) {
            Ok(())
        } else {
            Err(io::Error::other(TooMuch {
                packed,
                unpacked,
                limit: self.limit,
            }))
        }
    }
}

/// See [`Meter::packed`].
#[derive(Debug)]
pub(crate) struct CountPacked<R> {
    inner: R,
    meter: Meter,
}

impl<R: Read> Read for CountPacked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        let packed = &self.meter.counts.packed;
        packed.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

/// See [`Meter::unpacked`].
#[derive(Debug)]
pub(crate) struct CountUnpacked<R> {
    inner: R,
    meter: Meter,
}

impl<R: Read> Read for CountUnpacked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.meter.add(count as u64)?;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(limit: UnpackLimit, packed: usize, unpacked: usize) -> Option<TooMuch> {
        let meter = Meter::new(limit);
        let (packed, unpacked) = (vec![0; packed], vec![0; unpacked]);
        io::copy(&mut meter.packed(&*packed), &mut io::sink()).unwrap();
        let result = io::copy(&mut meter.unpacked(&*unpacked), &mut io::sink());
        result.err().map(|error| TooMuch::among(&error).unwrap())
    }

    #[test]
    fn little_and_proportionate_are_allowed() {
        let limit = UnpackLimit {
            bytes: 1000,
            ratio: 10,
        };
        for (packed, unpacked) in [(0, 1000), (1, 1000), (200, 2000), (5000, 5000)] {
            assert_eq!(read(limit, packed, unpacked), None);
        }
        for (packed, unpacked) in [(0, 1001), (99, 1001), (200, 2001)] {
            let error = read(limit, packed, unpacked).unwrap();
            assert_eq!((error.packed, error.limit), (packed as u64, limit));
        }
        assert_eq!(read(UnpackLimit::NONE, 0, 100_000), None);
        let meter = Meter::new(UnpackLimit::NONE);
        meter
            .add(u64::MAX)
            .and_then(|()| meter.add(u64::MAX))
            .unwrap();
    }
}
