//! Output on the connection of an attached client, in the form of Docker's Engine API.
//!
//! A frame is the number of its stream (1 or 2), three zeros, the length of what follows in four
//! bytes, the highest first, and so many bytes. A terminal has one stream, which comes as it is.

use kiln_runtime::Stream;

const HEADER_BYTES: usize = 8;

/// How streams share a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// Each piece says which stream it is of.
    Frames,
    /// There is one stream.
    Raw,
}

impl Framing {
    /// Appends output as it goes over the connection.
    pub(crate) fn append(self, to: &mut Vec<u8>, stream: Stream, bytes: &[u8]) {
        if self == Self::Frames {
            let number = match stream {
                Stream::Stdout => 1,
                Stream::Stderr => 2,
            };
            let length = u32::try_from(bytes.len()).expect("nobody reads 4 GiB at once");
            to.extend([number, 0, 0, 0]);
            to.extend(length.to_be_bytes());
        }
        to.extend_from_slice(bytes);
    }
}

/// Reads frames that come in pieces of any size.
#[derive(Debug)]
pub(crate) struct FrameReader {
    framing: Framing,
    header: Vec<u8>,
    stream: Stream,
    /// Bytes of the frame that are still to come.
    left: usize,
}

impl FrameReader {
    pub(crate) fn new(framing: Framing) -> Self {
        Self {
            framing,
            header: Vec::new(),
            stream: Stream::Stdout,
            left: 0,
        }
    }

    /// Returns the stream of the next piece of output at the front of what was read; none if there
    /// is no more of it.
    pub(crate) fn next_stream(&mut self, read: &mut &[u8]) -> Option<Stream> {
        while self.framing == Framing::Frames && self.left == 0 && !read.is_empty() {
            let missing = (HEADER_BYTES - self.header.len()).min(read.len());
            let (now, later) = read.split_at(missing);
            self.header.extend_from_slice(now);
            *read = later;
            if let Ok(header) = <[u8; HEADER_BYTES]>::try_from(self.header.as_slice()) {
                let [number, _, _, _, length @ ..] = header;
                self.stream = match number {
                    2 => Stream::Stderr,
                    _ => Stream::Stdout,
                };
                self.left = u32::from_be_bytes(length) as usize;
                self.header.clear();
            }
        }
        (!read.is_empty()).then_some(self.stream)
    }

    /// Takes the next piece of output, of so many bytes at most, from the front of what was read,
    /// after [`FrameReader::next_stream`] has said whose it is.
    pub(crate) fn take<'b>(&mut self, read: &mut &'b [u8], most: usize) -> &'b [u8] {
        let most = match self.framing {
            Framing::Frames => most.min(self.left),
            Framing::Raw => most,
        };
        let (now, later) = read.split_at(most.min(read.len()));
        *read = later;
        self.left -= self.left.min(now.len());
        now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(framing: Framing, bytes: &[u8], at_once: usize, most: usize) -> [Vec<u8>; 2] {
        let mut reader = FrameReader::new(framing);
        let mut streams = [Vec::new(), Vec::new()];
        for mut piece in bytes.chunks(at_once) {
            while let Some(stream) = reader.next_stream(&mut piece) {
                let bytes = reader.take(&mut piece, most);
                assert!(bytes.len() <= most);
                streams[usize::from(stream == Stream::Stderr)].extend_from_slice(bytes);
            }
        }
        streams
    }

    #[test]
    fn frames_are_dockers() {
        let mut bytes = Vec::new();
        Framing::Frames.append(&mut bytes, Stream::Stderr, &[b'x'; 258]);
        assert_eq!(bytes[..9], [2, 0, 0, 0, 0, 0, 1, 2, b'x']);
    }

    #[test]
    fn frames_are_read_whatever_the_pieces() {
        let mut bytes = Vec::new();
        for (stream, text) in [
            (Stream::Stdout, "one"),
            (Stream::Stderr, "two"),
            (Stream::Stdout, ""),
            (Stream::Stdout, "three"),
        ] {
            Framing::Frames.append(&mut bytes, stream, text.as_bytes());
        }
        for at_once in 1..=bytes.len() {
            for most in [1, 2, 100] {
                let [stdout, stderr] = read(Framing::Frames, &bytes, at_once, most);
                assert_eq!((&*stdout, &*stderr), (&b"onethree"[..], &b"two"[..]));
            }
        }
    }

    #[test]
    fn terminals_come_as_they_are() {
        let mut bytes = Vec::new();
        Framing::Raw.append(&mut bytes, Stream::Stdout, b"\x02\0\0\0word");
        let [stdout, stderr] = read(Framing::Raw, &bytes, 3, 2);
        assert_eq!((&*stdout, stderr.len()), (&b"\x02\0\0\0word"[..], 0));
    }
}
