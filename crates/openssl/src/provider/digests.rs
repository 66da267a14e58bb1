//! The digests that are ours, by libcrypto's names.

use std::ffi::CStr;

use spinlane_crypto::digest::Digest;

/// Returns the digest of one of its names in libcrypto: `SHA256`, `SHA-256`, `SHA2-256` or its OID.
pub(super) fn digest_by_name(name: &[u8]) -> Option<Digest> {
    let bits = match name.split_at_checked(3) {
        Some((sha, rest)) if sha.eq_ignore_ascii_case(b"SHA") => {
            let rest = rest
                .strip_prefix(b"2")
                .filter(|rest| rest.starts_with(b"-"))
                .unwrap_or(rest);
            rest.strip_prefix(b"-").unwrap_or(rest)
        }
        _ => name,
    };
    match bits {
        b"256" | b"2.16.840.1.101.3.4.2.1" => Some(Digest::Sha256),
        b"384" | b"2.16.840.1.101.3.4.2.2" => Some(Digest::Sha384),
        b"512" | b"2.16.840.1.101.3.4.2.3" => Some(Digest::Sha512),
        _ => None,
    }
    .filter(|_| bits.len() != name.len() || bits.len() > 3)
}

/// Returns libcrypto's name of a digest.
pub(super) fn digest_name(digest: Digest) -> &'static CStr {
    match digest {
        Digest::Sha256 => c"SHA2-256",
        Digest::Sha384 => c"SHA2-384",
        Digest::Sha512 => c"SHA2-512",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_have_all_their_names() {
        for digest in Digest::ALL {
            let name = digest_name(digest).to_bytes();
            assert_eq!(digest_by_name(name), Some(digest));
            assert_eq!(digest_by_name(&name.to_ascii_lowercase()), Some(digest));
        }
        for name in ["SHA256", "sha-256", "Sha2-256", "2.16.840.1.101.3.4.2.1"] {
            assert_eq!(
                digest_by_name(name.as_bytes()),
                Some(Digest::Sha256),
                "{name}"
            );
        }
        for name in [
            "",
            "SHA",
            "SHA1",
            "256",
            "SHA-2-256",
            "SHA3-256",
            "SHA512-256",
            "SHA2-512/256",
            "SHA2256",
        ] {
            assert_eq!(digest_by_name(name.as_bytes()), None, "{name}");
        }
    }
}
