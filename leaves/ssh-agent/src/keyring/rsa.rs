//! RSA keys. OpenSSH's files hold the factors and the exponent, but not the exponent's remainders
//! that signing by factors needs.

use aws_lc_rs::error::KeyRejected;
use aws_lc_rs::rsa::{KeyPair, KeyPairComponents, PublicKeyComponents};
use ssh_key::Mpint;
use ssh_key::private::RsaKeypair;

/// Makes a key pair that signs. That all numbers fit together is checked on the way.
pub(super) fn key_pair(pair: &RsaKeypair) -> Result<KeyPair, KeyRejected> {
    let private = &pair.private;
    let (d, p, q) = (digits(&private.d), digits(&private.p), digits(&private.q));
    KeyPair::from_components(&KeyPairComponents {
        public_key: PublicKeyComponents {
            n: digits(&pair.public.n),
            e: digits(&pair.public.e),
        },
        d,
        p,
        q,
        dP: &*remainder(d, &predecessor(p)),
        dQ: &*remainder(d, &predecessor(q)),
        qInv: digits(&private.iqmp),
    })
}

/// Returns a number's bytes, the greatest first, without zeros in front. None of a key's is negative.
fn digits(number: &Mpint) -> &[u8] {
    number.as_positive_bytes().unwrap_or_default()
}

/// Returns an odd number less one.
fn predecessor(odd: &[u8]) -> Vec<u8> {
    let mut even = odd.to_vec();
    if let Some(last) = even.last_mut() {
        *last &= 0xfe;
    }
    even
}

/// Divides, bit by bit, and returns what remains, as many bytes as the divisor has. Done once for
/// a key; nobody can time it.
fn remainder(dividend: &[u8], divisor: &[u8]) -> Vec<u8> {
    // One byte more than the divisor: twice what remains must fit.
    let divisor: Vec<u8> = [&[0], divisor].concat();
    let mut rest = vec![0_u8; divisor.len()];
    let is_zero = divisor.iter().all(|byte| *byte == 0);
    for byte in dividend.iter().filter(|_| !is_zero) {
        for bit in (0..8).rev() {
            let mut carry = (byte >> bit) & 1;
            for digit in rest.iter_mut().rev() {
                (*digit, carry) = ((*digit << 1) | carry, *digit >> 7);
            }
            if rest >= divisor {
                subtract(&mut rest, &divisor);
            }
        }
    }
    rest.split_off(1)
}

fn subtract(from: &mut [u8], what: &[u8]) {
    let mut borrowed = false;
    for (digit, less) in from.iter_mut().zip(what).rev() {
        let (difference, first) = digit.overflowing_sub(*less);
        let (difference, second) = difference.overflowing_sub(u8::from(borrowed));
        (*digit, borrowed) = (difference, first || second);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remainders_are_those_of_division() {
        let bytes = |number: u128| number.to_be_bytes().to_vec();
        for (dividend, divisor) in [
            (1_000_000_007, 10),
            (u128::MAX, 3),
            (u128::MAX, u128::MAX - 1),
            (5, 7),
            (1 << 100, (1 << 64) + 13),
        ] {
            let rest = remainder(&bytes(dividend), &bytes(divisor));
            assert_eq!(rest, bytes(dividend % divisor), "{dividend} % {divisor}");
        }
        assert_eq!(predecessor(&[1, 7]), [1, 6]);
    }
}
