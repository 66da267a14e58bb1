//! Record keys of SHA-256's traffic secrets: derived once, though rustls asks for them twice.
//!
//! rustls derives the keys for application data when it gets to them, and again when the connection takes them
//! over ([`Connection`](crate::Connection)). So whoever derives such a secret derives its keys at once, and
//! they are kept in the handshake's [`store`] until they have been asked for twice. (SHA-384 has its own, see
//! [`ahead`](super::ahead).)

use spinlane_crypto::Wiped;
use spinlane_crypto::digest::{Digest, HmacKey};

use super::label::{Info, Label};
use super::store::{self, Known, Traffic};

/// Bytes of a SHA-256.
const LEN: usize = 32;
/// Times that rustls asks.
const USES: usize = 2;

/// Whether `label` is that of a secret for application data (RFC 8446, section 7.1).
pub(super) fn is_application(label: &Label<'_>) -> bool {
    matches!(label.label, b"c ap traffic" | b"s ap traffic") && label.len == LEN
}

/// Derives and keeps the keys, of `key_len` bytes, of a secret for application data.
pub(super) fn put(secret: &[u8; LEN], key_len: usize) {
    if store::is_there() {
        store::put(secret, USES, Known::Traffic(derive(secret, key_len)));
    }
}

fn derive(secret: &[u8; LEN], key_len: usize) -> Traffic {
    let hmac = HmacKey::new(Digest::Sha256, secret);
    let (mut key, mut iv) = (Wiped::<32>::ZEROS, Wiped::<12>::ZEROS);
    let infos = [(key_len, &b"key"[..]), (iv.len(), b"iv")];
    let infos = infos.map(|(len, label)| Info::new(len, label, &[]));
    let [of_key, of_iv] = HmacKey::sign_each(infos.each_ref().map(|info| (&hmac, &info[..])));
    key.copy_from_slice(&of_key[..32]);
    iv.copy_from_slice(&of_iv[..12]);
    Traffic {
        key,
        key_len,
        iv,
        finished: None,
    }
}
