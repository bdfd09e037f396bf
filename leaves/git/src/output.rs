//! What git says, as far as it is kept: a server decides how much that is.

use std::io::{self, ErrorKind, Read};

/// Bytes that are kept of the beginning of git's messages, and of their end: its own words are at one
/// of them, and what a server has it repeat may have no end.
const MESSAGES: usize = 1 << 20;

/// Bytes of an answer. The names of a million branches are not as many.
const LONGEST_ANSWER: u64 = 64 << 20;

/// Reads messages to their end and returns the beginning and the end of them.
pub(crate) fn read_messages(mut stream: impl Read) -> io::Result<Vec<u8>> {
    let mut kept = Vec::new();
    stream
        .by_ref()
        .take(MESSAGES as u64)
        .read_to_end(&mut kept)?;
    let mut last = Vec::new();
    while stream
        .by_ref()
        .take(MESSAGES as u64)
        .read_to_end(&mut last)?
        > 0
    {
        let surplus = last.len().saturating_sub(MESSAGES);
        if surplus > 0 {
            last.drain(..surplus);
            // What lies on both sides of the gap is not one line.
            last[0] = b'\n';
        }
    }
    kept.append(&mut last);
    Ok(kept)
}

/// Reads an answer, which is of no use unless it is whole. What is too much is read and forgotten, so
/// that git comes to its end.
pub(crate) fn read_answer(mut stream: impl Read) -> io::Result<Vec<u8>> {
    let mut answer = Vec::new();
    stream
        .by_ref()
        .take(LONGEST_ANSWER)
        .read_to_end(&mut answer)?;
    match io::copy(&mut stream, &mut io::sink())? {
        0 => Ok(answer),
        _ => Err(io::Error::new(
            ErrorKind::FileTooLarge,
            format!("it answered with more than {LONGEST_ANSWER} bytes"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_keep_their_ends() {
        for length in [0, 5, MESSAGES, MESSAGES + 1, 2 * MESSAGES] {
            let said = vec![b'x'; length];
            assert!(read_messages(&*said).unwrap() == said, "{length}");
        }
        let middle = io::repeat(b'.').take(20 * MESSAGES as u64 + 7);
        let said = b"first\n".chain(middle).chain(&b"\nfatal: last\n"[..]);
        let kept = read_messages(said).unwrap();
        assert_eq!(kept.len(), 2 * MESSAGES);
        assert!(kept.starts_with(b"first\n.") && kept.ends_with(b".\nfatal: last\n"));
        assert_eq!(kept[MESSAGES], b'\n');
    }

    #[test]
    fn answers_are_whole_or_none() {
        assert_eq!(read_answer(&b"answer"[..]).unwrap(), b"answer");
        let error = read_answer(io::repeat(b'.').take(LONGEST_ANSWER + 1)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::FileTooLarge);
    }
}
