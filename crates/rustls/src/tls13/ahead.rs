//! What a key schedule with SHA-384 derives next, derived side by side before it is asked for.
//!
//! Every value of the key schedule (RFC 8446, section 7.1) is an HMAC, of two compressions and two for
//! its key. Many do not wait for one another, but rustls asks for them one by one. When it asks
//! for the first of a group, all of it is computed, and what comes of it in turn:
//! ```text
//!   handshake secret ─┬▶ c hs traffic ─▶ key, iv, finished ─▶ HMAC key of the last
//!                     ├▶ s hs traffic ─▶ key, iv, finished ─▶ HMAC key of the last
//!                     └▶ derived ─▶ master secret ─▶ its HMAC key
//!   master secret ────┬▶ c ap traffic ─▶ key, iv
//!                     ├▶ s ap traffic ─▶ key, iv
//!                     └▶ exp master
//! ```
//! So a handshake takes the time of 20 compressions instead of 64, and computes nothing that it
//! does not use. The first column's other values stay with the expander that was asked; what comes
//! of them is in the handshake's store ([`store`]) until rustls comes back with the secret, or the handshake
//! ends. If rustls comes once too often, the values are computed. So nothing but time depends on the order in which rustls asks.
//!
//! SHA-256 has instructions of its own: its compressions are too short for this.

use spinlane_crypto::Wiped;
use spinlane_crypto::digest::{Digest, HmacKey, MAX_DIGEST_LEN};

use super::label::{Info, Label};
use super::store::{self, Known, LEN, Traffic};

type Value = Wiped<MAX_DIGEST_LEN>;

/// Values of one expander.
pub(super) struct Group([Option<Output>; 3]);

struct Output {
    label: &'static [u8],
    /// A hash.
    context: [u8; LEN],
    value: Value,
}

impl Group {
    /// The value that `label` asks for, if it is here.
    pub(super) fn find(&self, label: &Label<'_>) -> Option<&[u8]> {
        let mut outputs = self.0.iter().flatten();
        let is_it = |output: &&Output| {
            output.label == label.label && output.context == label.context && label.len == LEN
        };
        Some(&outputs.find(is_it)?.value[..LEN])
    }
}

impl Output {
    fn new(label: &'static [u8], context: &[u8; LEN], value: Value) -> Option<Self> {
        Some(Self {
            label,
            context: *context,
            value,
        })
    }
}

impl Traffic {
    /// The value that `label` asks for, if it is here.
    pub(super) fn find(&self, label: &Label<'_>) -> Option<&[u8]> {
        let (value, len) = match label.label {
            b"key" => (&self.key[..], self.key_len),
            b"iv" => (&self.iv[..], self.iv.len()),
            b"finished" => (&self.finished.as_ref()?[..], LEN),
            _ => return None,
        };
        (label.context.is_empty() && label.len == len).then_some(value)
    }
}

/// The group that `label` is the first of, of the expander with `key`. `None` if it is the first of no
/// group, or there is no store for what comes of it.
pub(super) fn derive(key: &HmacKey, label: &Label<'_>, empty: &[u8; LEN]) -> Option<Group> {
    let context: &[u8; LEN] = label.context.try_into().ok()?;
    if !store::is_there() {
        return None;
    }
    match label.label {
        b"res binder" if context == empty => Some(binder(key, empty)),
        b"c hs traffic" => Some(handshake(key, context, empty)),
        b"c ap traffic" => Some(application(key, context)),
        _ => None,
    }
}

/// Of a pre-shared key.
fn binder(key: &HmacKey, empty: &[u8; LEN]) -> Group {
    let [binder, derived] = expand(key, [(b"res binder", empty), (b"derived", empty)]);
    let [binder_key, salt] = keys([&binder, &derived]);
    store::put(&binder[..LEN], 1, Known::Key(binder_key));
    store::put(&derived[..LEN], 1, Known::Key(salt));
    Group([
        Output::new(b"res binder", empty, binder),
        Output::new(b"derived", empty, derived),
        None,
    ])
}

fn handshake(key: &HmacKey, context: &[u8; LEN], empty: &[u8; LEN]) -> Group {
    let [client, server, derived] = expand(
        key,
        [
            (b"c hs traffic", context),
            (b"s hs traffic", context),
            (b"derived", empty),
        ],
    );
    let [c, s, salt] = keys([&client, &server, &derived]);
    let [key, iv, finished] = traffic_infos();
    let [c_key, c_iv, c_finished, s_key, s_iv, s_finished, master] = HmacKey::sign_each([
        (&c, &key[..]),
        (&c, &iv[..]),
        (&c, &finished[..]),
        (&s, &key[..]),
        (&s, &iv[..]),
        (&s, &finished[..]),
        (&salt, &[0; LEN]),
    ]);
    let [c_sign, s_sign, master] = keys([&c_finished, &s_finished, &master]);
    store::put(&c_finished[..LEN], 1, Known::Key(c_sign));
    store::put(&s_finished[..LEN], 1, Known::Key(s_sign));
    // Asked for its record key, and again for its Finished message.
    store::put(&client[..LEN], 2, traffic(&c_key, &c_iv, Some(&c_finished)));
    store::put(&server[..LEN], 2, traffic(&s_key, &s_iv, Some(&s_finished)));
    store::put(&derived[..LEN], 1, Known::Extracted(master));
    Group([
        Output::new(b"c hs traffic", context, client),
        Output::new(b"s hs traffic", context, server),
        Output::new(b"derived", empty, derived),
    ])
}

fn application(key: &HmacKey, context: &[u8; LEN]) -> Group {
    let [client, server, exporter] = expand(
        key,
        [
            (b"c ap traffic", context),
            (b"s ap traffic", context),
            (b"exp master", context),
        ],
    );
    let [c, s] = keys([&client, &server]);
    let [key, iv, _] = traffic_infos();
    let [c_key, c_iv, s_key, s_iv] =
        HmacKey::sign_each([(&c, &key[..]), (&c, &iv[..]), (&s, &key[..]), (&s, &iv[..])]);
    // Asked for by rustls, and again when the connection takes the keys over.
    store::put(&client[..LEN], 2, traffic(&c_key, &c_iv, None));
    store::put(&server[..LEN], 2, traffic(&s_key, &s_iv, None));
    Group([
        Output::new(b"c ap traffic", context, client),
        Output::new(b"s ap traffic", context, server),
        Output::new(b"exp master", context, exporter),
    ])
}

fn expand<const N: usize>(key: &HmacKey, labels: [(&[u8], &[u8; LEN]); N]) -> [Value; N] {
    let infos = labels.map(|(label, context)| Info::new(LEN, label, context));
    HmacKey::sign_each(infos.each_ref().map(|info| (key, &info[..])))
}

fn keys<const N: usize>(values: [&Value; N]) -> [HmacKey; N] {
    HmacKey::each(Digest::Sha384, values.map(|value| &value[..LEN]))
}

/// Of key, nonce and key for the Finished message.
fn traffic_infos() -> [Info; 3] {
    [(32, &b"key"[..]), (12, b"iv"), (LEN, b"finished")]
        .map(|(len, label)| Info::new(len, label, &[]))
}

fn traffic(key: &Value, iv: &Value, finished: Option<&Value>) -> Known {
    Known::Traffic(Traffic {
        key: Wiped::new(*head(key)),
        key_len: 32,
        iv: Wiped::new(*head(iv)),
        finished: finished.map(|finished| Wiped::new(*head(finished))),
    })
}

/// The first `N` bytes of a value.
fn head<const N: usize>(value: &Value) -> &[u8; N] {
    value
        .first_chunk()
        .expect("no part is longer than the longest digest")
}
