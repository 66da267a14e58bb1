//! How ECDSA signatures are written down.

/// Bytes that [`to_der`] writes at most: of a signature on P-384.
pub const MAX_DER_LEN: usize = 2 + 2 * (2 + 49);

/// Writes the DER of ECDSA-Sig-Value (RFC 3279, section 2.2.3) of `raw`, which is `r ‖ s` of at most
/// 48 bytes each. Returns its length, at most [`MAX_DER_LEN`].
///
/// # Panics
/// If `raw` is empty, of odd length or longer, or `out` is too short.
pub fn to_der(raw: &[u8], out: &mut [u8]) -> usize {
    // Two integers of at most 49 bytes: every length is one byte.
    let mut at = 2;
    for number in raw.chunks_exact(raw.len() / 2) {
        let zeros = number.iter().take_while(|byte| **byte == 0).count();
        let number = &number[zeros.min(number.len() - 1)..];
        // Without it, the number would be negative.
        let sign = usize::from(number[0] >= 0x80);
        let len = number.len() + sign;
        out[at..at + 3].copy_from_slice(&[0x02, len as u8, 0]);
        out[at + 2 + sign..at + 2 + len].copy_from_slice(number);
        at += 2 + len;
    }
    out[..2].copy_from_slice(&[0x30, (at - 2) as u8]);
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    fn der(raw: &[u8]) -> Vec<u8> {
        let mut out = [0xee; MAX_DER_LEN];
        let len = to_der(raw, &mut out);
        out[..len].to_vec()
    }

    #[test]
    fn numbers_are_encoded_as_short_as_they_go_and_never_negative() {
        let mut raw = [0; 64];
        assert_eq!(der(&raw), [0x30, 6, 2, 1, 0, 2, 1, 0]);
        raw[31] = 0x7f;
        raw[63] = 0x80;
        assert_eq!(der(&raw), [0x30, 7, 2, 1, 0x7f, 2, 2, 0, 0x80]);
        (raw[31], raw[32]) = (1, 0x80);
        let mut wanted = vec![0x30, 38, 2, 1, 1, 2, 33, 0, 0x80];
        wanted.resize(39, 0);
        wanted.push(0x80);
        assert_eq!(der(&raw), wanted);
        for (len, size) in [(64, 33), (96, 49)] {
            let full = der(&vec![0xff; len]);
            assert_eq!(full[..5], [0x30, 2 * (size + 2), 2, size, 0]);
            assert_eq!(full.len(), usize::from(2 + 2 * (size + 2)));
        }
    }
}
