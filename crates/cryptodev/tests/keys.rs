//! Key handles: local and remote secrets, what ops of each come to, and what drivers keep with a key.

use std::cell::Cell;

use spinlane_crypto::test_keys::der;
use spinlane_crypto::{Key, PublicKey, RsaPublicKey, test_keys as keys};
use spinlane_cryptodev::test_keys::{p256, rsa};
use spinlane_cryptodev::{KeyHandle, Op, OpKind, OpStatus, Request, RequestError, Token, cpu};

/// The public part of the RSA-2048 test key, with a secret that a device is said to have.
fn remote() -> std::sync::Arc<KeyHandle> {
    let parts = keys::components(der::RSA_2048);
    let public = RsaPublicKey::from_components(parts.n, parts.e).expect("a key");
    KeyHandle::remote(PublicKey::Rsa(public), "hsm", 7_u32)
}

fn op(key: &std::sync::Arc<KeyHandle>) -> Box<Op> {
    let mut op = Op::new();
    let request = Request::rsa_private(key, &[0x11; 256]).expect("below the modulus");
    op.prepare(Token(1), &request, 0);
    op
}

#[test]
fn a_remote_key_is_asked_as_a_local_one_is() {
    let key = remote();
    let request = Request::rsa_private(&key, &[0x11; 256]).expect("below the modulus");
    assert_eq!(request.kind(), OpKind::Rsa2048);
    assert_eq!(key.object::<u32>(), Some(&7));
    assert!(key.object::<u64>().is_none(), "another driver's");
    assert_eq!(
        (key.driver(), key.as_local().is_none()),
        (Some("hsm"), true)
    );
    assert_eq!(
        Request::ecdsa_p256(&key, &[1; 32]).err(),
        Some(RequestError::WrongKey {
            wanted: "P-256",
            got: "RSA"
        })
    );
    assert_eq!(format!("{key:?}"), "RSA of hsm");
}

#[test]
fn software_computes_nothing_with_a_remote_key_and_checks_by_its_public_part() {
    let mut op = op(&remote());
    cpu::run(&mut op);
    assert_eq!((op.status, op.output()), (OpStatus::Error, &[0; 256][..]));
    let local = rsa(der::RSA_2048);
    let mut by_software = self::op(&local);
    cpu::run(&mut by_software);
    op.buffers().1.copy_from_slice(by_software.output());
    assert!(cpu::result_is_right(&op));
    op.buffers().1[3] ^= 1;
    assert!(!cpu::result_is_right(&op));
}

#[test]
fn each_driver_keeps_its_own_with_a_key_of_any_type() {
    for key in [p256(1), rsa(der::RSA_2048), remote()] {
        let made = Cell::new(0);
        let make = |_: &KeyHandle| {
            made.set(made.get() + 1);
            made.get()
        };
        assert_eq!(*key.driver_data::<u8>(make), 1);
        assert_eq!(*key.driver_data(|key| key.name()), key.name());
        assert_eq!(*key.driver_data::<u8>(make), 1, "found again");
        assert_eq!(*key.driver_data(|key| key.name()), key.name());
        assert_eq!(made.get(), 1);
    }
}

#[test]
fn a_handle_says_what_its_key_is() {
    assert!(matches!(p256(1).as_local(), Some(Key::EcP256(_))));
    assert!(p256(1).as_remote().is_none() && p256(1).driver().is_none());
    assert_eq!((p256(1).name(), remote().name()), ("P-256", "RSA"));
    assert_eq!(remote().modulus(), rsa(der::RSA_2048).modulus());
}
