//! HKDF against published vectors and aws-lc-rs.

use rustls::crypto::aws_lc_rs::cipher_suite::{TLS13_AES_128_GCM_SHA256, TLS13_AES_256_GCM_SHA384};

use super::*;

fn hkdf(digest: Digest) -> &'static MidStateHkdf {
    match digest {
        Digest::Sha384 => &HKDF_SHA384,
        Digest::Sha256 | Digest::Sha512 => &HKDF_SHA256,
    }
}

/// RFC 5869, appendix A.1 and A.2, which ask for one block and for several.
#[test]
fn rfc_5869() {
    let hex = |text: &str| -> Vec<u8> {
        let byte = |at| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
        (0..text.len()).step_by(2).map(byte).collect()
    };
    let range = |from: u8, to: u8| (from..=to).collect::<Vec<_>>();
    for (ikm, salt, info, okm) in [
        (
            vec![0x0b; 22],
            range(0x00, 0x0c),
            range(0xf0, 0xf9),
            "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865",
        ),
        (
            range(0x00, 0x4f),
            range(0x60, 0xaf),
            range(0xb0, 0xff),
            "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c\
             59045a99cac7827271cb41c65e590e09da3275600c2f09b8367793a9aca3db71\
             cc30c58179ec3e87c14c01d5c1f3434f1d87",
        ),
    ] {
        let okm = hex(&okm.replace(' ', ""));
        let expander = hkdf(Digest::Sha256).extract_from_secret(Some(&salt), &ikm);
        // In few parts, in as many as fit, and in more.
        for size in [info.len(), info.len().div_ceil(MAX_PARTS), 1] {
            let parts: Vec<&[u8]> = info.chunks(size).collect();
            let mut out = vec![0; okm.len()];
            expander.expand_slice(&parts, &mut out).unwrap();
            assert_eq!(out, okm);
            assert_eq!(expander.expand_block(&parts).as_ref(), &okm[..32]);
        }
    }
}

#[test]
fn constants_are_what_they_stand_for() {
    for digest in [Digest::Sha256, Digest::Sha384] {
        let len = digest.len();
        let hkdf = hkdf(digest);
        let constants = hkdf.constants();
        let shortcut = hkdf.extract_from_zero_ikm(None);
        let long_way = hkdf.extract_from_secret(Some(&ZEROS[..len]), &ZEROS[..len]);
        let empty = &constants.empty[..len];
        for (label, context) in [("derived", empty), ("derived", b""), ("other", empty)] {
            assert_eq!(
                expand(&*shortcut, label, context, len),
                expand(&*long_way, label, context, len)
            );
        }
        let salt = &constants.derived[..len];
        let secret = hkdf.extract_from_secret(Some(salt), b"secret");
        let mut prk = [0; MAX_DIGEST_LEN];
        HmacKey::new(digest, salt).sign(&[b"secret"], &mut prk);
        let okm = hkdf.expander_for_okm(&OkmBlock::new(&prk[..len]));
        assert_eq!(
            secret.expand_block(&[b"x"]).as_ref(),
            okm.expand_block(&[b"x"]).as_ref()
        );
    }
}

/// HKDF-Expand-Label as rustls calls it.
fn expand(expander: &dyn HkdfExpander, label: &str, context: &[u8], len: usize) -> Vec<u8> {
    let label_len = [6 + label.len() as u8];
    let info = [
        &(len as u16).to_be_bytes()[..],
        &label_len,
        b"tls13 ",
        label.as_bytes(),
        &[context.len() as u8],
        context,
    ];
    if len == expander.hash_len() {
        return expander.expand_block(&info).as_ref().to_vec();
    }
    let mut out = vec![0; len];
    expander.expand_slice(&info, &mut out).unwrap();
    out
}

/// What a handshake derives, in rustls' order.
fn key_schedule(hkdf: &dyn Hkdf, psk: Option<&[u8]>, key_len: usize) -> Vec<Vec<u8>> {
    let mut seen = Vec::new();
    let mut early = hkdf.extract_from_zero_ikm(None);
    let len = early.hash_len();
    let empty = match len {
        32 => Digest::Sha256,
        _ => Digest::Sha384,
    };
    let mut hash = [0; MAX_DIGEST_LEN];
    empty.hash(&[], &mut hash);
    let empty = &hash[..len];
    let traffic = |secret: &[u8], seen: &mut Vec<Vec<u8>>| {
        let expander = hkdf.expander_for_okm(&OkmBlock::new(secret));
        seen.push(expand(&*expander, "key", b"", key_len));
        seen.push(expand(&*expander, "iv", b"", 12));
    };
    let finished = |secret: &[u8], seen: &mut Vec<Vec<u8>>| {
        let expander = hkdf.expander_for_okm(&OkmBlock::new(secret));
        let key = expand(&*expander, "finished", b"", len);
        let tag = hkdf.hmac_sign(&OkmBlock::new(&key), &[5; 48][..len]);
        seen.push(tag.as_ref().to_vec());
    };
    if let Some(psk) = psk {
        early = hkdf.extract_from_secret(None, psk);
        finished(&expand(&*early, "res binder", empty, len), &mut seen);
    }
    let salt = expand(&*early, "derived", empty, len);
    let handshake = hkdf.extract_from_secret(Some(&salt), &[9; 32]);
    let client = expand(&*handshake, "c hs traffic", &[1; 48][..len], len);
    let server = expand(&*handshake, "s hs traffic", &[1; 48][..len], len);
    traffic(&server, &mut seen);
    finished(&server, &mut seen);
    let salt = expand(&*handshake, "derived", empty, len);
    let master = hkdf.extract_from_zero_ikm(Some(&salt));
    let context = &[2; 48][..len];
    let [c, s, exporter] = ["c ap traffic", "s ap traffic", "exp master"]
        .map(|label| expand(&*master, label, context, len));
    traffic(&s, &mut seen);
    traffic(&client, &mut seen);
    finished(&client, &mut seen);
    traffic(&c, &mut seen);
    // Again when a connection takes the keys over.
    traffic(&c, &mut seen);
    traffic(&s, &mut seen);
    seen.push(expand(&*master, "res master", &[3; 48][..len], len));
    let other = expand(&*master, "s ap traffic", &[3; 48][..len], len);
    traffic(&other, &mut seen);
    seen.extend([salt, client, server, c, s, exporter, other]);
    seen
}

#[test]
fn the_key_schedule_is_the_stock_one() {
    let stock = |suite: rustls::SupportedCipherSuite| suite.tls13().unwrap().hkdf_provider;
    for (digest, suite, key_len) in [
        (Digest::Sha256, stock(TLS13_AES_128_GCM_SHA256), 16),
        (Digest::Sha384, stock(TLS13_AES_256_GCM_SHA384), 32),
    ] {
        for psk in [None, Some(&[8; 48][..digest.len()])] {
            let ours = key_schedule(hkdf(digest), psk, key_len);
            assert!(ours == key_schedule(suite, psk, key_len), "{digest:?}");
        }
    }
}

#[test]
fn too_long_an_output_is_refused() {
    let expander = hkdf(Digest::Sha256).expander_for_okm(&OkmBlock::new(&[7; 32]));
    assert!(expander.expand_slice(&[], &mut [0; 255 * 32]).is_ok());
    assert!(expander.expand_slice(&[], &mut [0; 255 * 32 + 1]).is_err());
}
