//! Keys: what is let in, what is named when it is not, and that nothing is printed.

use spinlane_crypto::curve::{Curve, P384, write_bytes};
use spinlane_crypto::test_keys::{components, der, ed25519, p256, p384, rsa};
use spinlane_crypto::{EcP256Key, EcP384Key, Key, KeyError, RsaComponents, RsaKey};

/// p is a product of two primes; every other relation between the components holds.
const COMPOSITE_P: &[u8] = include_bytes!("data/rsa2048-composite-p.der");

fn refused(components: &RsaComponents<'_>) -> KeyError {
    RsaKey::from_components(components).expect_err("not a key")
}

fn inconsistent(culprit: &'static str) -> KeyError {
    KeyError::RsaInconsistent { culprit }
}

/// `bytes` with its last byte changed; odd numbers stay odd.
fn altered(bytes: &[u8]) -> Vec<u8> {
    let (last, head) = bytes.split_last().expect("not empty");
    [head, &[last ^ 0x06]].concat()
}

#[test]
fn rsa_of_three_sizes() {
    for (der, bits) in [
        (der::RSA_2048, 2048),
        (der::RSA_3072, 3072),
        (der::RSA_4096, 4096),
    ] {
        let key = rsa(der);
        let Key::Rsa(key) = &key else {
            panic!("an RSA key")
        };
        assert_eq!((key.bits(), key.modulus_len()), (bits, bits / 8));
        assert!(key.public_exponent_is_65537());
        assert_eq!(key.n_limbs().len(), bits / 64);
        for part in [
            key.p_limbs(),
            key.q_limbs(),
            key.dp_limbs(),
            key.dq_limbs(),
            key.qinv_limbs(),
        ] {
            assert_eq!(part.len(), bits / 128);
        }
        let from_limbs: Vec<u8> = key
            .n_limbs()
            .iter()
            .rev()
            .flat_map(|limb| limb.to_be_bytes())
            .collect();
        assert_eq!(from_limbs, key.modulus());
    }
}

#[test]
fn leading_zeros_do_not_matter() {
    let zeros = |bytes: &[u8]| [&[0; 9], bytes].concat();
    let c = components(der::RSA_2048);
    let (n, e, d) = (zeros(c.n), zeros(c.e), zeros(c.d));
    let (p, q, dp, dq, qinv) = (
        zeros(c.p),
        zeros(c.q),
        zeros(c.dp),
        zeros(c.dq),
        zeros(c.qinv),
    );
    let padded = RsaComponents {
        n: &n,
        e: &e,
        d: &d,
        p: &p,
        q: &q,
        dp: &dp,
        dq: &dq,
        qinv: &qinv,
    };
    let padded = RsaKey::from_components(&padded).expect("the same key");
    let plain = RsaKey::from_components(&c).expect("a key");
    assert_eq!(padded.modulus(), plain.modulus());
    assert_eq!(padded.qinv_limbs(), plain.qinv_limbs());
    assert!(padded.public_exponent_is_65537());
}

#[test]
fn rsa_of_other_sizes_is_refused() {
    let c = components(der::RSA_2048);
    for (n, bits) in [(&c.n[..128], 1016), (&[][..], 0), (&[0, 0, 1][..], 1)] {
        assert_eq!(
            refused(&RsaComponents { n, ..c }),
            KeyError::RsaSize { bits }
        );
    }
    assert_eq!(
        refused(&RsaComponents {
            q: &c.q[..100],
            ..c
        }),
        KeyError::RsaPrimeSize {
            prime: 'q',
            bits: 792,
            wanted: 1024
        }
    );
    assert_eq!(
        refused(&RsaComponents { p: &[], ..c }),
        KeyError::RsaPrimeSize {
            prime: 'p',
            bits: 0,
            wanted: 1024
        }
    );
}

#[test]
fn a_component_that_does_not_fit_is_named() {
    let c = components(der::RSA_2048);
    let other = components(der::RSA_2048_OTHER);
    let cases: [(RsaComponents<'_>, &str); 6] = [
        (
            RsaComponents {
                n: &altered(c.n),
                ..c
            },
            "n is not p * q",
        ),
        (
            RsaComponents {
                p: &altered(c.p),
                ..c
            },
            "n is not p * q",
        ),
        (RsaComponents { n: other.n, ..c }, "n is not p * q"),
        (
            RsaComponents {
                d: &altered(c.d),
                ..c
            },
            "d is not the inverse of e",
        ),
        (
            RsaComponents {
                dp: &altered(c.dp),
                ..c
            },
            "dp, dq or qinv does not follow from p, q and d",
        ),
        (
            RsaComponents {
                qinv: &altered(c.qinv),
                ..c
            },
            "dp, dq or qinv does not follow from p, q and d",
        ),
    ];
    for (components, culprit) in &cases {
        assert_eq!(refused(components), inconsistent(culprit));
    }
    let even = RsaComponents { e: &[4], ..c };
    assert_eq!(refused(&even), KeyError::RsaExponent);
}

#[test]
fn composite_primes_show_in_the_trial() {
    assert_eq!(
        refused(&components(COMPOSITE_P)),
        inconsistent("p or q is not prime")
    );
}

#[test]
fn p256_takes_scalars_from_1_to_n() {
    const N: [u8; 32] = [
        0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
        0xff, 0xbc, 0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63,
        0x25, 0x51,
    ];
    let mut n_minus_1 = N;
    n_minus_1[31] -= 1;
    let range = KeyError::EcRange { curve: "P-256" };
    let length = |got| KeyError::EcLength {
        curve: "P-256",
        got,
        most: 32,
    };
    for (scalar, error) in [
        (&[0; 32][..], range),
        (&[0][..], range),
        (&N[..], range),
        (&[0xff; 32][..], range),
        (&[][..], length(0)),
        (&[1; 33][..], length(33)),
    ] {
        assert_eq!(
            EcP256Key::from_scalar(scalar).expect_err("not a key"),
            error
        );
    }
    // 1 and n-1 give the generator (FIPS 186-5; its y is odd) and its negative.
    let one = EcP256Key::from_scalar(&[1]).expect("a key");
    let last = EcP256Key::from_scalar(&n_minus_1).expect("a key");
    assert_eq!(one.scalar_limbs(), &[1, 0, 0, 0]);
    assert_eq!(one.public_key()[..5], [0x04, 0x6b, 0x17, 0xd1, 0xf2]);
    assert_eq!(one.public_key()[..33], last.public_key()[..33]);
    assert_ne!(one.public_key(), last.public_key());
}

#[test]
fn p384_takes_scalars_from_1_to_n() {
    let mut order: [u8; 48] = [0; 48];
    write_bytes(&P384::ORDER, &mut order);
    let mut n_minus_1 = order;
    n_minus_1[47] -= 1;
    let range = KeyError::EcRange { curve: "P-384" };
    for scalar in [&[0; 48][..], &order, &[0xff; 48]] {
        assert_eq!(
            EcP384Key::from_scalar(scalar).expect_err("not a key"),
            range
        );
    }
    assert!(EcP384Key::from_scalar(&[1; 49]).is_err());
    let one = EcP384Key::from_scalar(&[1]).expect("a key");
    let last = EcP384Key::from_scalar(&n_minus_1).expect("a key");
    assert_eq!(one.scalar_limbs(), &[1, 0, 0, 0, 0, 0]);
    assert_eq!(one.public_key()[..5], [0x04, 0xaa, 0x87, 0xca, 0x22]);
    assert_eq!(one.public_key()[..49], last.public_key()[..49]);
    assert_ne!(one.public_key(), last.public_key());
}

#[test]
fn nothing_secret_is_printed() {
    let keys: [(Key, &str); 4] = [
        (rsa(der::RSA_2048), "RsaKey { bits: 2048, .. }"),
        (p256(1), "EcKey { curve: \"P-256\", .. }"),
        (p384(1), "EcKey { curve: \"P-384\", .. }"),
        (ed25519(1), "Ed25519Key { .. }"),
    ];
    for (key, text) in keys {
        assert_eq!(format!("{key:?}"), text);
    }
    assert_eq!(
        format!("{:?}", components(der::RSA_2048)),
        "RsaComponents { .. }"
    );
}

#[test]
fn keys_are_shared_between_threads() {
    fn check<T: Send + Sync>() {}
    check::<Key>();
}
