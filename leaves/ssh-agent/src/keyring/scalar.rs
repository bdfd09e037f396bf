//! Private numbers of ECDSA keys with zeros in front.
//!
//! OpenSSH writes them as short as they are (RFC 4251, section 5, `mpint`), which is one byte less
//! than the curve has for a quarter of the keys on P-521. The reader of keys wants all bytes of
//! the curve, so such a key is written anew with the zeros.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::protocol::{push_string, take_string};

const BEGIN: &str = "-----BEGIN OPENSSH PRIVATE KEY-----";
const END: &str = "-----END OPENSSH PRIVATE KEY-----";
const MAGIC: &[u8] = b"openssh-key-v1\0";

/// Characters in a line, as ssh-keygen writes them.
const WIDTH: usize = 70;

/// The private part is filled up to a multiple of this many bytes.
const BLOCK: usize = 8;

/// Returns the text of an ECDSA key without a passphrase with its number in full length; none for
/// anything else.
pub(super) fn in_full_length(text: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(text).ok()?;
    let body = text.trim().strip_prefix(BEGIN)?.strip_suffix(END)?;
    let body: String = body.split_whitespace().collect();
    let bytes = STANDARD.decode(body).ok()?;
    let mut rest = bytes.strip_prefix(MAGIC)?;
    for nothing in [&b"none"[..], b"none", b""] {
        (take_string(&mut rest)? == nothing).then_some(())?;
    }
    let (one, mut rest) = rest.split_first_chunk::<4>()?;
    (u32::from_be_bytes(*one) == 1).then_some(())?;
    let public = take_string(&mut rest)?;
    let private = private_part(take_string(&mut rest)?)?;

    let mut bytes = MAGIC.to_vec();
    push_string(&mut bytes, b"none");
    push_string(&mut bytes, b"none");
    push_string(&mut bytes, b"");
    bytes.extend_from_slice(one);
    push_string(&mut bytes, public);
    push_string(&mut bytes, &private);
    let body = STANDARD.encode(bytes);
    let mut text = format!("{BEGIN}\n");
    for line in body.as_bytes().chunks(WIDTH) {
        text.push_str(std::str::from_utf8(line).ok()?);
        text.push('\n');
    }
    text.push_str(END);
    text.push('\n');
    Some(text)
}

/// Writes the private part anew.
fn private_part(bytes: &[u8]) -> Option<Vec<u8>> {
    // A random number twice.
    let (check, mut rest) = bytes.split_at_checked(8)?;
    let kind = take_string(&mut rest)?;
    let curve = take_string(&mut rest)?;
    let length = match curve {
        b"nistp256" => 32,
        b"nistp384" => 48,
        b"nistp521" => 66,
        _ => return None,
    };
    let point = take_string(&mut rest)?;
    let number = take_string(&mut rest)?;
    let comment = take_string(&mut rest)?;
    let zeros = length - number.len().min(length);

    let mut bytes = check.to_vec();
    for part in [kind, curve, point] {
        push_string(&mut bytes, part);
    }
    push_string(&mut bytes, &[&vec![0; zeros], number].concat());
    push_string(&mut bytes, comment);
    let filling = (1_u8..).take(bytes.len().next_multiple_of(BLOCK) - bytes.len());
    bytes.extend(filling);
    Some(bytes)
}
