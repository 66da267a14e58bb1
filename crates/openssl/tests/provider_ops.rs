//! Operations of the provider outside TLS, each against stock OpenSSL.

#![allow(
    clippy::undocumented_unsafe_blocks,
    reason = "calls of libcrypto on what the wrappers own"
)]

mod provider_support;

use std::ffi::{CStr, c_char, c_int};
use std::ptr;

use openssl_sys::*;
use provider_support::*;
use spinlane_cryptodev::OpKind;
use spinlane_openssl::provider::{BindError, Delegated, PROPERTY_QUERY, counters};

unsafe extern "C" {
    fn EVP_DigestSignInit_ex(
        ctx: *mut EVP_MD_CTX,
        key_ctx: *mut *mut EVP_PKEY_CTX,
        digest: *const c_char,
        libctx: *mut OSSL_LIB_CTX,
        query: *const c_char,
        key: *mut EVP_PKEY,
        params: *const OSSL_PARAM,
    ) -> c_int;
    fn EVP_DigestVerifyInit_ex(
        ctx: *mut EVP_MD_CTX,
        key_ctx: *mut *mut EVP_PKEY_CTX,
        digest: *const c_char,
        libctx: *mut OSSL_LIB_CTX,
        query: *const c_char,
        key: *mut EVP_PKEY,
        params: *const OSSL_PARAM,
    ) -> c_int;
    fn EVP_PKEY_set1_encoded_public_key(key: *mut EVP_PKEY, point: *const u8, len: usize) -> c_int;
    fn EVP_PKEY_get1_encoded_public_key(key: *mut EVP_PKEY, point: *mut *mut u8) -> usize;
    fn i2d_PUBKEY(key: *const EVP_PKEY, to: *mut *mut u8) -> c_int;
    fn d2i_AutoPrivateKey_ex(
        key: *mut *mut EVP_PKEY,
        from: *mut *const u8,
        len: std::ffi::c_long,
        libctx: *mut OSSL_LIB_CTX,
        query: *const c_char,
    ) -> *mut EVP_PKEY;
    fn EVP_PKEY_CTX_dup(ctx: *const EVP_PKEY_CTX) -> *mut EVP_PKEY_CTX;
    fn EVP_PKEY_CTX_new_from_pkey(
        libctx: *mut OSSL_LIB_CTX,
        key: *mut EVP_PKEY,
        query: *const c_char,
    ) -> *mut EVP_PKEY_CTX;
}

/// How a message is signed: its digest, and RSA's parameters.
#[derive(Clone, Copy, Debug)]
struct Scheme {
    digest: &'static CStr,
    /// Salt length and MGF1's digest, if PSS; a missing salt length is left to the provider.
    pss: Option<(Option<&'static CStr>, Option<&'static CStr>)>,
}

impl Scheme {
    fn array(self) -> Vec<OSSL_PARAM> {
        let mut array = Vec::new();
        if let Some((salt, mgf1)) = self.pss {
            array.push(text_param(c"pad-mode", c"pss"));
            array.extend(salt.map(|salt| text_param(c"saltlen", salt)));
            array.extend(mgf1.map(|digest| text_param(c"mgf1-digest", digest)));
        }
        array.push(end_param());
        array
    }

    /// As the verifier needs it: it finds out the salt length.
    fn to_verify(self) -> Self {
        Self {
            pss: self.pss.map(|(_, mgf1)| (Some(c"auto"), mgf1)),
            ..self
        }
    }
}

/// Signs in one go, or in pieces. The parameters come with the init, or after it.
fn sign(key: &Pkey, scheme: Scheme, message: &[u8], one_shot: bool, late_params: bool) -> Vec<u8> {
    let mut signature = vec![0; 512];
    let mut len = signature.len();
    let params = scheme.array();
    unsafe {
        let ctx = EVP_MD_CTX_new();
        let mut key_ctx = ptr::null_mut();
        let early = if late_params {
            ptr::null()
        } else {
            params.as_ptr()
        };
        let query = PROPERTY_QUERY.as_ptr();
        let ready = EVP_DigestSignInit_ex(
            ctx,
            &mut key_ctx,
            scheme.digest.as_ptr(),
            ours().0,
            query,
            key.0,
            early,
        );
        assert_eq!(ready, 1, "{scheme:?} {}", errors());
        if late_params {
            assert!(
                EVP_PKEY_CTX_set_params(key_ctx, params.as_ptr()) > 0,
                "{scheme:?} {}",
                errors()
            );
        }
        let done = if one_shot {
            EVP_DigestSign(
                ctx,
                signature.as_mut_ptr(),
                &mut len,
                message.as_ptr(),
                message.len(),
            )
        } else {
            for piece in message.chunks(97) {
                assert_eq!(
                    EVP_DigestSignUpdate(ctx, piece.as_ptr().cast(), piece.len()),
                    1
                );
            }
            let mut longest = 0;
            assert_eq!(EVP_DigestSignFinal(ctx, ptr::null_mut(), &mut longest), 1);
            assert!(longest <= len);
            EVP_DigestSignFinal(ctx, signature.as_mut_ptr(), &mut len)
        };
        assert_eq!(done, 1, "{scheme:?} {}", errors());
        EVP_MD_CTX_free(ctx);
    }
    signature.truncate(len);
    signature
}

/// Verifies with the key as it is, wherever it is.
fn verify(lib: Lib, key: &Pkey, scheme: Scheme, message: &[u8], signature: &[u8]) -> bool {
    let params = scheme.to_verify().array();
    unsafe {
        let ctx = EVP_MD_CTX_new();
        let digest = scheme.digest.as_ptr();
        let ready = EVP_DigestVerifyInit_ex(
            ctx,
            ptr::null_mut(),
            digest,
            lib.0,
            ptr::null(),
            key.0,
            params.as_ptr(),
        );
        assert_eq!(ready, 1, "{}", errors());
        let verified = EVP_DigestVerify(
            ctx,
            signature.as_ptr(),
            signature.len(),
            message.as_ptr(),
            message.len(),
        ) == 1;
        EVP_MD_CTX_free(ctx);
        errors();
        verified
    }
}

fn schemes() -> Vec<(Scheme, bool)> {
    let mut all = Vec::new();
    for (digest, ours) in [
        (c"SHA256", true),
        (c"SHA2-384", true),
        (c"SHA512", true),
        (c"SHA1", false),
        (c"SHA3-256", false),
    ] {
        all.push((Scheme { digest, pss: None }, ours));
        for salt in [
            None,
            Some(c"digest"),
            Some(c"max"),
            Some(c"auto"),
            Some(c"0"),
            Some(c"17"),
        ] {
            all.push((
                Scheme {
                    digest,
                    pss: Some((salt, None)),
                },
                ours,
            ));
        }
        all.push((
            Scheme {
                digest,
                pss: Some((Some(c"digest"), Some(c"SHA1"))),
            },
            false,
        ));
        all.push((
            Scheme {
                digest,
                pss: Some((Some(c"digest"), Some(c"SHA512"))),
            },
            digest == c"SHA512",
        ));
    }
    all
}

#[test]
fn rsa_signatures_verify_in_stock_openssl() {
    let _alone = alone();
    let (stock_key, bound, message) = (rsa(2048), rsa(2048).bound(), message());
    for (scheme, is_ours) in schemes() {
        for (one_shot, late_params) in [(true, false), (false, false), (true, true), (false, true)]
        {
            let before = (
                counters().offloaded(OpKind::Rsa2048),
                counters().delegated(Delegated::Sign),
            );
            let signature = sign(&bound, scheme, &message, one_shot, late_params);
            let after = (
                counters().offloaded(OpKind::Rsa2048),
                counters().delegated(Delegated::Sign),
            );
            assert!(
                verify(stock(), stock_key, scheme, &message, &signature),
                "{scheme:?}"
            );
            assert!(
                verify(ours(), &bound, scheme, &message, &signature),
                "{scheme:?} by the bound key"
            );
            assert!(
                !verify(ours(), &bound, scheme, b"other", &signature),
                "{scheme:?}"
            );
            let went = if is_ours {
                after.0 > before.0
            } else {
                after.1 > before.1
            };
            assert!(went, "{scheme:?} went the other way");
        }
    }
}

#[test]
fn ecdsa_signatures_verify_in_stock_openssl() {
    let message = message();
    for key in [p256(), p384()] {
        let bound = key.bound();
        for digest in [c"SHA256", c"SHA384", c"SHA512", c"SHA1", c"SHA3-256"] {
            let scheme = Scheme { digest, pss: None };
            for one_shot in [true, false] {
                let signature = sign(&bound, scheme, &message, one_shot, false);
                assert!(
                    verify(stock(), key, scheme, &message, &signature),
                    "{digest:?}"
                );
                assert!(
                    verify(ours(), &bound, scheme, &message, &signature),
                    "{digest:?}"
                );
                assert!(
                    !verify(stock(), key, scheme, b"other", &signature),
                    "{digest:?}"
                );
            }
        }
    }
}

/// Signs with an Ed25519 key in `lib`; `None` if that is refused.
fn sign_ed25519(lib: Lib, key: &Pkey, digest: *const c_char, message: &[u8]) -> Option<Vec<u8>> {
    let (mut signature, mut len) = (vec![0; 64], 0);
    unsafe {
        let first = EVP_MD_CTX_new();
        let query = if lib.0 == ours().0 {
            PROPERTY_QUERY.as_ptr()
        } else {
            ptr::null()
        };
        let (null, none) = (ptr::null_mut(), ptr::null());
        let ready = EVP_DigestSignInit_ex(first, null, digest, lib.0, query, key.0, none) == 1;
        let ctx = EVP_MD_CTX_new();
        let text = message.as_ptr();
        let done = ready
            && EVP_MD_CTX_copy_ex(ctx, first) == 1
            && EVP_DigestSign(ctx, ptr::null_mut(), &mut len, text, message.len()) == 1
            && len == 64
            && EVP_DigestSign(ctx, signature.as_mut_ptr(), &mut len, text, message.len()) == 1;
        EVP_MD_CTX_free(first);
        EVP_MD_CTX_free(ctx);
        done.then_some(signature)
    }
}

/// Ed25519 is deterministic: the signatures must be the same.
#[test]
fn ed25519_signs_as_stock_openssl() {
    let _alone = alone();
    let bound = ed25519().bound();
    for (len, is_ours) in [
        (0, true),
        (146, true),
        (512, true),
        (513, false),
        (9000, false),
    ] {
        let message = vec![0x5a; len];
        let before = counters();
        let signature = sign_ed25519(ours(), &bound, ptr::null(), &message);
        let after = counters();
        assert!(signature.is_some(), "{}", errors());
        assert_eq!(
            signature,
            sign_ed25519(stock(), ed25519(), ptr::null(), &message)
        );
        let (offloaded, delegated) = (
            after.offloaded(OpKind::Ed25519) - before.offloaded(OpKind::Ed25519),
            after.delegated(Delegated::Sign) - before.delegated(Delegated::Sign),
        );
        assert_eq!(
            (offloaded > 0, delegated > 0),
            (is_ours, !is_ours),
            "{len} bytes"
        );
    }
    assert_eq!(
        sign_ed25519(ours(), &bound, c"SHA256".as_ptr(), b"text"),
        None
    );
    assert!(errors().contains("hashes by itself"));
}

/// As libssl of OpenSSL 4.0 begins the signature of every TLS 1.3 handshake.
#[test]
fn the_tls_version_changes_nothing_about_a_signature() {
    let _alone = alone();
    let message = &message()[..146];
    for (key, digest, kind) in [
        (rsa(2048), Some(c"SHA256"), OpKind::Rsa2048),
        (p256(), Some(c"SHA256"), OpKind::EcdsaP256),
        (ed25519(), None, OpKind::Ed25519),
    ] {
        let bound = key.bound();
        let name = digest.map_or(ptr::null(), CStr::as_ptr);
        let mut version = TLS1_3_VERSION;
        let mut params = vec![int_param(c"tls-version", &mut version)];
        params.extend(digest.map(|digest| text_param(c"digest", digest)));
        params.push(end_param());
        let (mut signature, mut len) = (vec![0; 512], 512);
        let before = counters();
        unsafe {
            let (ctx, null) = (EVP_MD_CTX_new(), ptr::null_mut());
            let query = PROPERTY_QUERY.as_ptr();
            let (lib, params) = (ours().0, params.as_ptr());
            let ready = EVP_DigestSignInit_ex(ctx, null, name, lib, query, bound.0, params);
            assert_eq!(ready, 1, "{kind:?} {}", errors());
            let (out, text) = (signature.as_mut_ptr(), message.as_ptr());
            let done = EVP_DigestSign(ctx, out, &mut len, text, message.len());
            assert_eq!(done, 1, "{kind:?} {}", errors());
            EVP_MD_CTX_free(ctx);
        }
        signature.truncate(len);
        let after = counters();
        assert_eq!(
            after.offloaded(kind),
            before.offloaded(kind) + 1,
            "{kind:?}"
        );
        assert_eq!(
            after.delegated(Delegated::Sign),
            before.delegated(Delegated::Sign),
            "{kind:?}"
        );
        unsafe {
            let (ctx, null) = (EVP_MD_CTX_new(), ptr::null_mut());
            let (lib, none) = (stock().0, ptr::null());
            let ready = EVP_DigestVerifyInit_ex(ctx, null, name, lib, none, key.0, ptr::null());
            let (signature, text) = (signature.as_ptr(), message.as_ptr());
            let verified =
                ready == 1 && EVP_DigestVerify(ctx, signature, len, text, message.len()) == 1;
            EVP_MD_CTX_free(ctx);
            assert!(verified, "{kind:?} {}", errors());
        }
    }
}

#[test]
fn padding_set_after_the_message_still_counts() {
    let (bound, message) = (rsa(2048).bound(), message());
    for mgf1 in [None, Some(c"SHA1")] {
        let scheme = Scheme {
            digest: c"SHA256",
            pss: Some((Some(c"digest"), mgf1)),
        };
        let params = scheme.array();
        let (mut signature, mut len) = (vec![0; 256], 256);
        unsafe {
            let ctx = EVP_MD_CTX_new();
            let mut key_ctx = ptr::null_mut();
            EVP_DigestSignInit_ex(
                ctx,
                &mut key_ctx,
                c"SHA256".as_ptr(),
                ours().0,
                ptr::null(),
                bound.0,
                ptr::null(),
            );
            assert_eq!(
                EVP_DigestSignUpdate(ctx, message.as_ptr().cast(), message.len()),
                1
            );
            assert!(
                EVP_PKEY_CTX_set_params(key_ctx, params.as_ptr()) > 0,
                "{}",
                errors()
            );
            assert_eq!(
                EVP_DigestSignFinal(ctx, signature.as_mut_ptr(), &mut len),
                1,
                "{}",
                errors()
            );
            EVP_MD_CTX_free(ctx);
        }
        assert!(
            verify(stock(), rsa(2048), scheme, &message, &signature),
            "{mgf1:?}"
        );
    }
}

/// Signs `hash` by EVP_PKEY_sign; `None` if it is refused.
fn sign_hash(key: &Pkey, params: &[OSSL_PARAM], hash: &[u8]) -> Option<Vec<u8>> {
    unsafe {
        let ctx = EVP_PKEY_CTX_new_from_pkey(ours().0, key.0, ptr::null());
        assert!(EVP_PKEY_sign_init(ctx) > 0);
        assert!(
            EVP_PKEY_CTX_set_params(ctx, params.as_ptr()) > 0,
            "{}",
            errors()
        );
        let mut signature = vec![0; 512];
        let mut len = signature.len();
        let signed = EVP_PKEY_sign(
            ctx,
            signature.as_mut_ptr(),
            &mut len,
            hash.as_ptr(),
            hash.len(),
        ) > 0;
        EVP_PKEY_CTX_free(ctx);
        errors();
        signature.truncate(len);
        signed.then_some(signature)
    }
}

fn verify_hash(key: &Pkey, lib: Lib, params: &[OSSL_PARAM], hash: &[u8], signature: &[u8]) -> bool {
    unsafe {
        let ctx = EVP_PKEY_CTX_new_from_pkey(lib.0, key.0, ptr::null());
        assert!(EVP_PKEY_verify_init(ctx) > 0);
        assert!(
            EVP_PKEY_CTX_set_params(ctx, params.as_ptr()) > 0,
            "{}",
            errors()
        );
        let ok = EVP_PKEY_verify(
            ctx,
            signature.as_ptr(),
            signature.len(),
            hash.as_ptr(),
            hash.len(),
        ) == 1;
        EVP_PKEY_CTX_free(ctx);
        errors();
        ok
    }
}

#[test]
fn hashes_are_signed_as_in_stock_openssl() {
    let cases: [(&CStr, usize, bool); 6] = [
        (c"SHA256", 32, true),
        (c"SHA512", 64, true),
        (c"SHA256", 31, false),
        (c"SHA1", 20, true),
        (c"MD5-SHA1", 36, true),
        (c"", 36, true),
    ];
    for (digest, len, accepted) in cases {
        let hash = vec![0x5a; len];
        let mut params = vec![end_param()];
        if !digest.is_empty() {
            params.insert(0, text_param(c"digest", digest));
        }
        for key in [rsa(2048), p256()] {
            // MD5-SHA1 is RSA's.
            let signature = if digest == c"MD5-SHA1" && ptr::eq(key, p256()) {
                continue;
            } else {
                sign_hash(&key.bound(), &params, &hash)
            };
            assert_eq!(signature.is_some(), accepted, "{digest:?} {len}");
            let Some(signature) = signature else { continue };
            assert!(
                verify_hash(key, stock(), &params, &hash, &signature),
                "{digest:?} {len}"
            );
            assert!(
                verify_hash(&key.bound(), ours(), &params, &hash, &signature),
                "{digest:?} {len}"
            );
            assert!(
                !verify_hash(key, stock(), &params, &vec![0x5b; len], &signature),
                "{digest:?} {len}"
            );
        }
    }
}

#[test]
fn a_certificate_and_its_pss_parameters_are_signed_by_a_bound_key() {
    let certificate = Certificate::of(&ed25519().bound());
    assert!(certificate.verified_by(ed25519()) && certificate.matches(ed25519()));
    for key in [rsa(2048), p256(), p384()] {
        let bound = key.bound();
        let certificate = Certificate::new(&bound, unsafe { EVP_sha384() });
        assert!(certificate.verified_by(key));
        assert!(certificate.matches(&bound) && certificate.matches(key));
    }
    assert!(!Certificate::new(rsa(2048), unsafe { EVP_sha256() }).matches(&rsa(3072).bound()));
}

#[test]
fn cms_is_signed_by_a_bound_key() {
    for key in [rsa(2048), p256()] {
        let certificate = Certificate::new(key, unsafe { EVP_sha256() });
        let text = message();
        unsafe {
            let data = BIO_new_mem_buf(text.as_ptr().cast(), text.len() as c_int);
            const CMS_BINARY: u32 = 0x80;
            let cms = CMS_sign(
                certificate.0,
                key.bound().0,
                ptr::null_mut(),
                data,
                CMS_BINARY,
            );
            assert!(!cms.is_null(), "{}", errors());
            let store = X509_STORE_new();
            X509_STORE_add_cert(store, certificate.0);
            const CMS_NO_SIGNER_CERT_VERIFY: u32 = 0x20;
            let verified = CMS_verify(
                cms,
                ptr::null_mut(),
                store,
                ptr::null_mut(),
                ptr::null_mut(),
                CMS_BINARY | CMS_NO_SIGNER_CERT_VERIFY,
            );
            assert_eq!(verified, 1, "{}", errors());
            X509_STORE_free(store);
            CMS_ContentInfo_free(cms);
            BIO_free_all(data);
        }
    }
}

#[test]
fn a_bound_key_keeps_its_private_part() {
    const PUBLIC: c_int = 0x86;
    const PAIR: c_int = 0x87;
    for key in [rsa(2048), p256(), p384(), ed25519()] {
        let bound = key.bound();
        assert_eq!(bound.provider(), "spinlane");
        assert!(bound.gives(PUBLIC), "{}", errors());
        assert!(!bound.gives(PAIR));
        assert!(key.gives(PAIR));
        for name in [c"d", c"rsa-factor1", c"rsa-coefficient1", c"priv"] {
            let mut number = ptr::null_mut();
            let got = unsafe { EVP_PKEY_get_bn_param(bound.0, name.as_ptr(), &mut number) };
            assert!(got != 1, "{name:?} was given out");
            let (mut bytes, mut len) = ([0; 64], 64);
            let got =
                unsafe { EVP_PKEY_get_raw_private_key(bound.0, bytes.as_mut_ptr(), &mut len) };
            assert!(got != 1, "the seed was given out");
        }
        errors();
        let der = unsafe { i2d_PrivateKey(bound.0, ptr::null_mut()) };
        assert!(der <= 0, "a bound key's private part was encoded");
        errors();
    }
}

#[test]
fn keys_made_in_the_provider_keep_their_private_part_only_when_bound() {
    const PAIR: c_int = 0x87;
    let mut bits = 2048;
    let ec = [text_param(c"group", c"P-256"), end_param()];
    let rsa = [int_param(c"bits", &mut bits), end_param()];
    for (name, params) in [(c"RSA", &rsa[..]), (c"EC", &ec[..]), (c"ED25519", &[])] {
        let made = Pkey::generate(ours(), name, c"provider=spinlane", params);
        assert_eq!(made.provider(), "spinlane");
        assert!(made.gives(PAIR), "{name:?}");
        assert!(made.dup().gives(PAIR), "{name:?}");
        let bound = made.bound();
        assert!(!bound.gives(PAIR), "{name:?}");
        assert!(!bound.bound().dup().gives(PAIR), "{name:?}");
        assert!(made.gives(PAIR) && made.equals(&bound), "{name:?}");
        assert!(Certificate::of(&bound).verified_by(&made), "{name:?}");
        assert_eq!(errors(), "");
    }
}

#[test]
fn bound_keys_equal_and_copy() {
    for key in [rsa(2048), p256(), p384(), ed25519()] {
        let (bound, copy) = (key.bound(), key.bound().dup());
        assert!(bound.equals(key) && key.equals(&bound) && bound.equals(&copy));
        assert!(!bound.equals(rsa(3072)));
        assert_eq!(copy.provider(), "spinlane");
        if ptr::eq(key, ed25519()) {
            let signature = sign_ed25519(ours(), &copy, ptr::null(), b"copied");
            assert_eq!(
                signature,
                sign_ed25519(stock(), key, ptr::null(), b"copied")
            );
        } else {
            let scheme = Scheme {
                digest: c"SHA256",
                pss: None,
            };
            let signature = sign(&copy, scheme, b"copied", true, false);
            assert!(verify(stock(), key, scheme, b"copied", &signature));
        }
        assert_eq!(copy.bind().expect("bound already").provider(), "spinlane");
        unsafe {
            let ctx = EVP_PKEY_CTX_new_from_pkey(ours().0, bound.0, ptr::null());
            assert_eq!(EVP_PKEY_check(ctx), 1, "{}", errors());
            assert_eq!(EVP_PKEY_public_check(ctx), 1, "{}", errors());
            EVP_PKEY_CTX_free(ctx);
        }
    }
}

#[test]
fn only_what_devices_do_is_bound() {
    let mut bits = 2048;
    let pss = Pkey::generate(
        stock(),
        c"RSA-PSS",
        c"",
        &[int_param(c"bits", &mut bits), end_param()],
    );
    let mut primes = 3;
    let many = [
        int_param(c"bits", &mut bits),
        int_param(c"primes", &mut primes),
        end_param(),
    ];
    let keys = [
        Pkey::ec(stock(), c"P-521"),
        Pkey::rsa(stock(), 1024),
        Pkey::plain(stock(), c"ED448"),
        Pkey::plain(stock(), c"X25519"),
        pss,
        Pkey::generate(stock(), c"RSA", c"", &many),
    ];
    for key in keys {
        let Err(error) = key.bind() else {
            panic!("bound")
        };
        assert!(matches!(error, BindError::NotOffloaded { .. }), "{error}");
        assert!(error.to_string().contains("not offloaded"));
    }
}

const TLS_PADDING: c_int = 7;

/// Encrypts `text` with stock OpenSSL.
fn encrypt(lib: Lib, query: *const c_char, params: &[OSSL_PARAM], text: &[u8]) -> Vec<u8> {
    let (mut secret, mut len) = (vec![0; 256], 256);
    unsafe {
        let ctx = EVP_PKEY_CTX_new_from_pkey(lib.0, rsa(2048).0, query);
        let ready = EVP_PKEY_encrypt_init(ctx) > 0
            && EVP_PKEY_CTX_set_params(ctx, params.as_ptr()) > 0
            && EVP_PKEY_encrypt(
                ctx,
                secret.as_mut_ptr(),
                &mut len,
                text.as_ptr(),
                text.len(),
            ) > 0;
        assert!(ready && len == 256, "{}", errors());
        EVP_PKEY_CTX_free(ctx);
    }
    secret
}

/// Decrypts with `key` by a copy of a context; `None` if that is refused.
fn decrypt(key: &Pkey, params: &[OSSL_PARAM], secret: &[u8]) -> Option<Vec<u8>> {
    let (mut plain, mut len, mut longest) = (vec![0; 256], 256, 0);
    unsafe {
        let first = EVP_PKEY_CTX_new_from_pkey(ours().0, key.0, PROPERTY_QUERY.as_ptr());
        assert!(EVP_PKEY_decrypt_init(first) > 0, "{}", errors());
        let set = EVP_PKEY_CTX_set_params(first, params.as_ptr()) > 0;
        let ctx = EVP_PKEY_CTX_dup(first);
        EVP_PKEY_CTX_free(first);
        let (text, size) = (secret.as_ptr(), secret.len());
        let done = set
            && EVP_PKEY_decrypt(ctx, ptr::null_mut(), &mut longest, text, size) > 0
            && EVP_PKEY_decrypt(ctx, plain.as_mut_ptr(), &mut len, text, size) > 0;
        EVP_PKEY_CTX_free(ctx);
        assert!(!done || len <= longest, "{len} bytes, {longest} announced");
        plain.truncate(len);
        done.then_some(plain)
    }
}

#[test]
fn rsa_decrypts_what_stock_openssl_encrypts() {
    let _alone = alone();
    let (bound, query) = (rsa(2048).bound(), PROPERTY_QUERY.as_ptr());
    for (pad_mode, is_ours) in [(c"pkcs1", true), (c"oaep", false)] {
        let params = [text_param(c"pad-mode", pad_mode), end_param()];
        let secret = encrypt(stock(), ptr::null(), &params, b"premaster");
        let before = counters();
        assert_eq!(
            decrypt(&bound, &params, &secret).as_deref(),
            Some(&b"premaster"[..])
        );
        let after = counters();
        assert_eq!(
            after.offloaded(OpKind::Rsa2048) - before.offloaded(OpKind::Rsa2048),
            u64::from(is_ours)
        );
        // The public key stays in the default provider, the property query notwithstanding.
        let secret = encrypt(ours(), query, &params, b"premaster");
        assert_eq!(
            decrypt(&bound, &params, &secret).as_deref(),
            Some(&b"premaster"[..])
        );
    }
    // Leading zeros of a ciphertext may be missing.
    let params = [text_param(c"pad-mode", c"pkcs1"), end_param()];
    let stripped = loop {
        let secret = encrypt(stock(), ptr::null(), &params, b"text");
        if secret[0] == 0 {
            break secret;
        }
    };
    assert_eq!(
        decrypt(&bound, &params, &stripped[1..]).as_deref(),
        Some(&b"text"[..])
    );
}

#[test]
fn a_badly_padded_ciphertext_is_no_error() {
    let bound = rsa(2048).bound();
    let (mut tls, mut version, mut other) = (TLS_PADDING, 0x0303, 0x0302);
    let plain = [text_param(c"pad-mode", c"pkcs1"), end_param()];
    let premaster = [
        int_param(c"pad-mode", &mut tls),
        int_param(c"tls-client-version", &mut version),
        end_param(),
    ];
    let mut lenient_version = 0x0303;
    let lenient = [
        int_param(c"pad-mode", &mut tls),
        int_param(c"tls-client-version", &mut lenient_version),
        int_param(c"tls-negotiated-version", &mut other),
        end_param(),
    ];
    // 0 and 1 decrypt to themselves; 5 and 6 to nobody knows what.
    for last in [0, 1, 5, 6] {
        let mut bad = [0; 256];
        bad[255] = last;
        let message = decrypt(&bound, &plain, &bad).expect("a message");
        assert_eq!(
            decrypt(&bound, &plain, &bad).as_ref(),
            Some(&message),
            "always the same"
        );
        let secret = decrypt(&bound, &premaster, &bad).expect("a secret");
        assert_eq!(secret.len(), 48);
        assert_ne!(decrypt(&bound, &premaster, &bad), Some(secret), "random");
    }
    let mut secret = [0x77; 48];
    secret[..2].copy_from_slice(&[0x03, 0x03]);
    let good = encrypt(stock(), ptr::null(), &plain, &secret);
    assert_eq!(
        decrypt(&bound, &premaster, &good).as_deref(),
        Some(&secret[..])
    );
    secret[1] = 0x02;
    let older = encrypt(stock(), ptr::null(), &plain, &secret);
    assert_ne!(
        decrypt(&bound, &premaster, &older).as_deref(),
        Some(&secret[..])
    );
    assert_eq!(
        decrypt(&bound, &lenient, &older).as_deref(),
        Some(&secret[..])
    );
    // One byte too short, and one too long.
    for len in [47, 49] {
        let mut other = vec![0x77; len];
        other[..2].copy_from_slice(&[0x03, 0x03]);
        let sent = encrypt(stock(), ptr::null(), &plain, &other);
        let got = decrypt(&bound, &premaster, &sent).expect("a secret");
        assert!(got.len() == 48 && got[2..10] != other[2..10]);
    }
}

#[test]
fn what_a_peer_knows_to_be_no_ciphertext_is_an_error() {
    let bound = rsa(2048).bound();
    let mut tls = TLS_PADDING;
    let params = [text_param(c"pad-mode", c"pkcs1"), end_param()];
    assert_eq!(decrypt(&bound, &params, &[0xff; 256]), None);
    assert!(errors().contains("not below the modulus"));
    assert_eq!(decrypt(&bound, &params, &[0x01; 257]), None);
    assert!(errors().contains("257 bytes"));
    let no_version = [int_param(c"pad-mode", &mut tls), end_param()];
    assert_eq!(decrypt(&bound, &no_version, &[0x01; 256]), None);
    assert!(errors().contains("tls-client-version"));
}

fn raw_public(key: &Pkey) -> [u8; 32] {
    let (mut public, mut len) = ([0; 32], 32);
    unsafe {
        assert_eq!(
            EVP_PKEY_get_raw_public_key(key.0, public.as_mut_ptr(), &mut len),
            1
        )
    };
    public
}

fn x25519(lib: Lib, query: *const c_char, public: &[u8; 32]) -> Pkey {
    Pkey::checked(unsafe {
        EVP_PKEY_new_raw_public_key_ex(lib.0, c"X25519".as_ptr(), query, public.as_ptr(), 32)
    })
}

fn derive(lib: Lib, query: *const c_char, key: &Pkey, peer: &Pkey) -> Option<[u8; 32]> {
    unsafe {
        let ctx = EVP_PKEY_CTX_new_from_pkey(lib.0, key.0, query);
        let (mut secret, mut len) = ([0; 32], 32);
        let done = EVP_PKEY_derive_init(ctx) > 0
            && EVP_PKEY_derive_set_peer(ctx, peer.0) > 0
            && EVP_PKEY_derive(ctx, secret.as_mut_ptr(), &mut len) > 0;
        EVP_PKEY_CTX_free(ctx);
        done.then_some(secret)
    }
}

/// One that lives could be found out by peers for whom lanes compute wrongly.
#[test]
fn an_x25519_key_that_may_serve_again_stays_off_the_devices() {
    let _alone = alone();
    let query = PROPERTY_QUERY.as_ptr();
    let peer = x25519(ours(), query, &raw_public(&Pkey::plain(stock(), c"X25519")));
    let offloaded = |key: &Pkey| {
        let before = counters().offloaded(OpKind::X25519Derive);
        derive(ours(), query, key, &peer).expect("a secret");
        counters().offloaded(OpKind::X25519Derive) - before
    };
    let generated = Pkey::generate(ours(), c"X25519", PROPERTY_QUERY, &[]);
    let copy = generated.dup();
    assert_eq!(offloaded(&generated), 1, "its first derivation");
    assert_eq!(offloaded(&generated), 0, "its second");
    assert_eq!(offloaded(&copy), 0, "a copy's");
    let imported = Pkey::checked(unsafe {
        let private = [7; 32];
        EVP_PKEY_new_raw_private_key_ex(ours().0, c"X25519".as_ptr(), query, private.as_ptr(), 32)
    });
    assert_eq!(imported.provider(), "spinlane");
    assert_eq!(offloaded(&imported), 0, "an imported key's");
}

/// A context derives for one peer after another.
#[test]
fn a_second_derivation_of_a_context_stays_off_the_devices() {
    let _alone = alone();
    let query = PROPERTY_QUERY.as_ptr();
    let mine = Pkey::generate(ours(), c"X25519", PROPERTY_QUERY, &[]);
    let before = counters().offloaded(OpKind::X25519Derive);
    let ctx = unsafe { EVP_PKEY_CTX_new_from_pkey(ours().0, mine.0, query) };
    assert!(unsafe { EVP_PKEY_derive_init(ctx) } > 0, "{}", errors());
    for _ in 0..3 {
        let peer = x25519(ours(), query, &raw_public(&Pkey::plain(stock(), c"X25519")));
        let (mut secret, mut len) = ([0; 32], 0);
        unsafe {
            assert!(EVP_PKEY_derive_set_peer(ctx, peer.0) > 0, "{}", errors());
            assert!(EVP_PKEY_derive(ctx, ptr::null_mut(), &mut len) > 0);
            assert!(EVP_PKEY_derive(ctx, secret.as_mut_ptr(), &mut len) > 0);
        }
    }
    unsafe { EVP_PKEY_CTX_free(ctx) };
    assert_eq!(counters().offloaded(OpKind::X25519Derive) - before, 1);
}

#[test]
fn x25519_agrees_with_stock_openssl() {
    let _alone = alone();
    let query = PROPERTY_QUERY.as_ptr();
    for _ in 0..8 {
        let mine = Pkey::generate(ours(), c"X25519", PROPERTY_QUERY, &[]);
        let theirs = Pkey::plain(stock(), c"X25519");
        assert_eq!(mine.provider(), "spinlane");
        let a = derive(
            ours(),
            query,
            &mine,
            &x25519(ours(), query, &raw_public(&theirs)),
        );
        let b = derive(
            stock(),
            ptr::null(),
            &theirs,
            &x25519(stock(), ptr::null(), &raw_public(&mine)),
        );
        assert!(a.is_some() && a == b);
        // A copy derives the same; so does the key in the hands of the default provider.
        let peer = x25519(ours(), query, &raw_public(&theirs));
        assert_eq!(derive(ours(), query, &mine.dup(), &peer), a);
        assert_eq!(
            derive(ours(), c"provider=default".as_ptr(), &mine, &peer),
            a
        );
        assert!(mine.equals(&x25519(ours(), query, &raw_public(&mine))));
        assert!(!mine.equals(&peer));
    }
}

#[test]
fn low_order_points_are_rejected() {
    let _alone = alone();
    let query = PROPERTY_QUERY.as_ptr();
    let mine = Pkey::generate(ours(), c"X25519", PROPERTY_QUERY, &[]);
    let mut one = [0; 32];
    one[0] = 1;
    for point in [[0; 32], one] {
        let peer = x25519(ours(), query, &point);
        assert_eq!(derive(ours(), query, &mine, &peer), None);
        assert!(errors().contains("low order"));
    }
}

/// An ephemeral key on `curve`, as libssl makes it.
fn ephemeral(lib: Lib, query: &CStr, curve: &CStr) -> Pkey {
    Pkey::generate(
        lib,
        c"EC",
        query,
        &[text_param(c"group", curve), end_param()],
    )
}

/// A peer's key, as libssl makes it: the parameters, then the point. `None` if that is refused.
fn peer(lib: Lib, query: &CStr, curve: &CStr, point: &[u8]) -> Option<Pkey> {
    unsafe {
        let ctx = EVP_PKEY_CTX_new_from_name(lib.0, c"EC".as_ptr(), query.as_ptr());
        let mut key = ptr::null_mut();
        let params = [text_param(c"group", curve), end_param()];
        assert!(EVP_PKEY_paramgen_init(ctx) > 0, "{}", errors());
        assert!(EVP_PKEY_CTX_set_params(ctx, params.as_ptr()) > 0);
        assert!(EVP_PKEY_paramgen(ctx, &mut key) > 0, "{}", errors());
        EVP_PKEY_CTX_free(ctx);
        let key = Pkey(key);
        let set = EVP_PKEY_set1_encoded_public_key(key.0, point.as_ptr(), point.len()) == 1;
        errors();
        set.then_some(key)
    }
}

fn encoded(key: &Pkey) -> Vec<u8> {
    let mut point = ptr::null_mut();
    unsafe {
        let len = EVP_PKEY_get1_encoded_public_key(key.0, &mut point);
        let bytes = std::slice::from_raw_parts(point, len).to_vec();
        CRYPTO_free(point.cast(), c"".as_ptr(), 0);
        bytes
    }
}

/// ECDH by a copy of a context with these parameters; `None` if it is refused.
fn ecdh(lib: Lib, query: &CStr, own: &Pkey, peer: &Pkey, params: &[OSSL_PARAM]) -> Option<Vec<u8>> {
    unsafe {
        let first = EVP_PKEY_CTX_new_from_pkey(lib.0, own.0, query.as_ptr());
        let ready = EVP_PKEY_derive_init(first) > 0
            && (params.is_empty() || EVP_PKEY_CTX_set_params(first, params.as_ptr()) > 0)
            && EVP_PKEY_derive_set_peer(first, peer.0) > 0;
        if !ready {
            EVP_PKEY_CTX_free(first);
            return None;
        }
        let ctx = EVP_PKEY_CTX_dup(first);
        EVP_PKEY_CTX_free(first);
        let mut len = 0;
        assert!(EVP_PKEY_derive(ctx, ptr::null_mut(), &mut len) > 0);
        let mut secret = vec![0; len];
        let done = EVP_PKEY_derive(ctx, secret.as_mut_ptr(), &mut len) > 0;
        EVP_PKEY_CTX_free(ctx);
        secret.truncate(len);
        done.then_some(secret)
    }
}

#[test]
fn ecdh_agrees_with_stock_openssl() {
    let _alone = alone();
    let none = c"";
    for (curve, kind) in [
        (c"P-256", Some(OpKind::EcdhP256Derive)),
        (c"prime256v1", Some(OpKind::EcdhP256Derive)),
        (c"secp384r1", Some(OpKind::EcdhP384Derive)),
        (c"P-521", None),
        (c"secp256k1", None),
        (c"brainpoolP256r1", None),
    ] {
        for _ in 0..4 {
            let mine = ephemeral(ours(), PROPERTY_QUERY, curve);
            let theirs = ephemeral(stock(), none, curve);
            assert_eq!(mine.provider(), "spinlane");
            let (to_me, to_them) = (
                peer(ours(), PROPERTY_QUERY, curve, &encoded(&theirs)).expect("a point"),
                peer(stock(), none, curve, &encoded(&mine)).expect("a point"),
            );
            let before = counters();
            let secret = ecdh(ours(), PROPERTY_QUERY, &mine, &to_me, &[]);
            let after = counters();
            assert!(secret.is_some(), "{curve:?} {}", errors());
            assert_eq!(
                secret,
                ecdh(stock(), none, &theirs, &to_them, &[]),
                "{curve:?}"
            );
            if let Some(kind) = kind {
                assert_eq!(
                    after.offloaded(kind) - before.offloaded(kind),
                    1,
                    "{curve:?}"
                );
            }
            // With a key derivation function after it, the default provider does it.
            let mut len = 20usize;
            let kdf = [
                text_param(c"kdf-type", c"X963KDF"),
                text_param(c"kdf-digest", c"SHA256"),
                param(
                    c"kdf-outlen",
                    2,
                    ptr::from_mut(&mut len).cast(),
                    size_of::<usize>(),
                ),
                end_param(),
            ];
            let derived = ecdh(ours(), PROPERTY_QUERY, &mine, &to_me, &kdf);
            assert!(
                derived.as_ref().is_some_and(|key| key.len() == 20),
                "{}",
                errors()
            );
            assert_eq!(derived, ecdh(stock(), none, &theirs, &to_them, &kdf));
            // A generated key may leave: it is the application's, as in stock OpenSSL.
            assert_eq!(
                ecdh(ours(), c"provider=default", &mine, &to_me, &[]),
                secret
            );
            assert_eq!(
                ecdh(ours(), PROPERTY_QUERY, &mine.dup(), &to_me, &[]),
                secret
            );
            let written = der(|to| unsafe { i2d_PrivateKey(mine.0, to) });
            let read = unsafe {
                let (mut at, len) = (written.as_ptr(), written.len() as std::ffi::c_long);
                let (null, query) = (ptr::null_mut(), ptr::null());
                Pkey::checked(d2i_AutoPrivateKey_ex(null, &mut at, len, stock().0, query))
            };
            let to_read = peer(stock(), none, curve, &encoded(&theirs)).expect("a point");
            assert_eq!(ecdh(stock(), none, &read, &to_read, &[]), secret);
            assert!(
                mine.equals(&peer(ours(), PROPERTY_QUERY, curve, &encoded(&mine)).expect("own"))
            );
            assert!(!mine.equals(&to_me));
        }
    }
}

#[test]
fn only_points_are_peers() {
    for (curve, len) in [(c"P-256", 65), (c"P-384", 97), (c"P-521", 133)] {
        let mine = ephemeral(ours(), PROPERTY_QUERY, curve);
        let mut point = encoded(&mine);
        assert_eq!(point.len(), len);
        // Compressed, it is the same point.
        let mut compressed = point[..=len / 2].to_vec();
        compressed[0] = 0x02 | point[len - 1] & 1;
        let same = peer(ours(), PROPERTY_QUERY, curve, &compressed).expect("a point");
        assert!(mine.equals(&same));
        let secret = ecdh(ours(), PROPERTY_QUERY, &mine, &same, &[]);
        assert!(secret.is_some());
        let plain = peer(ours(), PROPERTY_QUERY, curve, &point).expect("a point");
        assert_eq!(secret, ecdh(ours(), PROPERTY_QUERY, &mine, &plain, &[]));

        point[len - 1] ^= 1;
        for bad in [&point[..], &point[..len - 1], &[], &[0x04; 97]] {
            assert!(
                peer(ours(), PROPERTY_QUERY, curve, bad).is_none(),
                "{curve:?} {bad:x?}"
            );
        }
    }
    let (p256, p384) = (
        ephemeral(ours(), PROPERTY_QUERY, c"P-256"),
        ephemeral(ours(), PROPERTY_QUERY, c"P-384"),
    );
    assert_eq!(ecdh(ours(), PROPERTY_QUERY, &p256, &p384, &[]), None);
    errors();
}

/// What an i2d function writes.
fn der(write: impl Fn(*mut *mut u8) -> c_int) -> Vec<u8> {
    let mut bytes = vec![0; 500];
    let mut to = bytes.as_mut_ptr();
    bytes.truncate(usize::try_from(write(&mut to)).expect("encodes"));
    bytes
}

/// What libcrypto reads by the property query may come to our key manager, whatever its curve; at the
/// latest it does when it is used.
#[test]
fn keys_that_are_read_by_the_property_query_work() {
    unsafe extern "C" {
        fn d2i_PUBKEY_ex(
            key: *mut *mut EVP_PKEY,
            from: *mut *const u8,
            len: std::ffi::c_long,
            libctx: *mut OSSL_LIB_CTX,
            query: *const c_char,
        ) -> *mut EVP_PKEY;
    }
    let (query, scheme) = (
        PROPERTY_QUERY.as_ptr(),
        Scheme {
            digest: c"SHA256",
            pss: None,
        },
    );
    for curve in [c"P-256", c"P-384", c"P-521", c"secp256k1"] {
        let key = Pkey::ec(stock(), curve);
        let private = der(|to| unsafe { i2d_PrivateKey(key.0, to) });
        let public = der(|to| unsafe { i2d_PUBKEY(key.0, to) });
        let (a, b) = unsafe {
            let (mut at, len) = (private.as_ptr(), private.len() as std::ffi::c_long);
            let a = d2i_AutoPrivateKey_ex(ptr::null_mut(), &mut at, len, ours().0, query);
            let (mut at, len) = (public.as_ptr(), public.len() as std::ffi::c_long);
            let b = d2i_PUBKEY_ex(ptr::null_mut(), &mut at, len, ours().0, query);
            (Pkey::checked(a), Pkey::checked(b))
        };
        let signature = sign(&a, scheme, b"text", true, false);
        assert!(
            verify(stock(), &key, scheme, b"text", &signature),
            "{curve:?}"
        );
        assert!(verify(ours(), &b, scheme, b"text", &signature), "{curve:?}");
        assert!(
            !verify(ours(), &b, scheme, b"other", &signature),
            "{curve:?}"
        );
        assert!(
            a.equals(&b) && b.equals(&key) && key.equals(&a),
            "{curve:?}"
        );
        assert!(b.gives(0x86), "{curve:?}");
        assert_eq!(der(|to| unsafe { i2d_PUBKEY(a.0, to) }), public);
    }
}
