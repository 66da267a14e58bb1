//! AWS-LC's ML-KEM, a seeded source of bytes, and batches in the shape that tests want.
#![allow(dead_code)] // each test uses a part

use std::ptr::null_mut;

use aws_lc_sys as sys;
use spinlane_mlkem::{
    Cpu, Decapsulation, Encapsulation, KeyGeneration, LANES, Lanes, Outcome, Refused,
};

/// The CPU, or `None` where it lacks what the lanes need: the test says so and ends.
pub fn cpu() -> Option<Cpu> {
    Cpu::detect()
        .inspect_err(|missing| eprintln!("skipped: this CPU lacks {missing}"))
        .ok()
}

/// Bytes that look random (SplitMix64).
pub struct Bytes(pub u64);

impl Bytes {
    pub fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let x = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    pub fn below(&mut self, limit: usize) -> usize {
        (self.word() % limit as u64) as usize
    }

    pub fn take<const N: usize>(&mut self) -> [u8; N] {
        std::array::from_fn(|_| self.word() as u8)
    }
}

/// A key pair in the formats of FIPS 203.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    pub encapsulation_key: Vec<u8>,
    pub decapsulation_key: Vec<u8>,
}

/// A ciphertext and its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    pub ciphertext: Vec<u8>,
    pub shared_secret: [u8; 32],
}

/// AWS-LC's name of a parameter set.
fn nid(k: usize) -> i32 {
    [sys::NID_MLKEM512, sys::NID_MLKEM768, sys::NID_MLKEM1024][k - 2]
}

/// Frees what AWS-LC allocated.
struct Context {
    key: *mut sys::EVP_PKEY,
    context: *mut sys::EVP_PKEY_CTX,
}

impl Context {
    fn of(key: *mut sys::EVP_PKEY) -> Self {
        assert!(!key.is_null());
        // SAFETY: a key of ours; no engine.
        let context = unsafe { sys::EVP_PKEY_CTX_new(key, null_mut()) };
        Self { key, context }
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: both are ours, and null is allowed.
        unsafe {
            sys::EVP_PKEY_CTX_free(self.context);
            sys::EVP_PKEY_free(self.key);
        }
    }
}

/// AWS-LC's key pair of a seed, d and z.
pub fn their_pair<const K: usize>(seed: &[u8; 64]) -> Pair {
    let mut pair = Pair {
        encapsulation_key: vec![0; Lanes::<K>::ENCAPSULATION_KEY],
        decapsulation_key: vec![0; Lanes::<K>::DECAPSULATION_KEY],
    };
    // SAFETY: every buffer has the length that is given with it; objects are freed by `Context`.
    unsafe {
        let mut of_kind = Context {
            key: null_mut(),
            context: sys::EVP_PKEY_CTX_new_id(sys::EVP_PKEY_KEM, null_mut()),
        };
        assert_eq!(sys::EVP_PKEY_CTX_kem_set_params(of_kind.context, nid(K)), 1);
        assert_eq!(sys::EVP_PKEY_keygen_init(of_kind.context), 1);
        let mut len = seed.len();
        let made = sys::EVP_PKEY_keygen_deterministic(
            of_kind.context,
            &mut of_kind.key,
            seed.as_ptr(),
            &mut len,
        );
        assert_eq!(made, 1);
        let to = &mut pair.encapsulation_key;
        let mut len = to.len();
        let got = sys::EVP_PKEY_get_raw_public_key(of_kind.key, to.as_mut_ptr(), &mut len);
        assert_eq!((got, len), (1, to.len()));
        let to = &mut pair.decapsulation_key;
        let mut len = to.len();
        let got = sys::EVP_PKEY_get_raw_private_key(of_kind.key, to.as_mut_ptr(), &mut len);
        assert_eq!((got, len), (1, to.len()));
    }
    pair
}

/// AWS-LC's encapsulation of `m`; `None` if it refuses the key.
pub fn their_encapsulation<const K: usize>(key: &[u8], m: &[u8; 32]) -> Option<Sealed> {
    let mut sealed = Sealed {
        ciphertext: vec![0; Lanes::<K>::CIPHERTEXT],
        shared_secret: [0; 32],
    };
    // SAFETY: as in `their_pair`.
    unsafe {
        let key = sys::EVP_PKEY_kem_new_raw_public_key(nid(K), key.as_ptr(), key.len());
        let context = Context::of(key);
        let (mut len, mut secret_len, mut m_len) = (sealed.ciphertext.len(), 32, m.len());
        let done = sys::EVP_PKEY_encapsulate_deterministic(
            context.context,
            sealed.ciphertext.as_mut_ptr(),
            &mut len,
            sealed.shared_secret.as_mut_ptr(),
            &mut secret_len,
            m.as_ptr(),
            &mut m_len,
        );
        (done == 1).then_some(sealed)
    }
}

/// AWS-LC's decapsulation; `None` if it refuses the key.
pub fn their_decapsulation<const K: usize>(key: &[u8], ciphertext: &[u8]) -> Option<[u8; 32]> {
    let mut secret = [0; 32];
    // SAFETY: as in `their_pair`.
    unsafe {
        let key = sys::EVP_PKEY_kem_new_raw_secret_key(nid(K), key.as_ptr(), key.len());
        let context = Context::of(key);
        let mut len = secret.len();
        let done = sys::EVP_PKEY_decapsulate(
            context.context,
            secret.as_mut_ptr(),
            &mut len,
            ciphertext.as_ptr(),
            ciphertext.len(),
        );
        (done == 1).then_some(secret)
    }
}

/// Our key pairs of these seeds, d and z.
pub fn our_pairs<const K: usize>(lanes: &mut Lanes<K>, seeds: &[[u8; 64]]) -> Vec<Pair> {
    let empty = Pair {
        encapsulation_key: vec![0xaa; Lanes::<K>::ENCAPSULATION_KEY],
        decapsulation_key: vec![0xaa; Lanes::<K>::DECAPSULATION_KEY],
    };
    let mut pairs = vec![empty; seeds.len()];
    let mut ops: Vec<_> = seeds
        .iter()
        .zip(&mut pairs)
        .map(|(seed, pair)| KeyGeneration {
            d: seed.first_chunk().unwrap(),
            z: seed.last_chunk().unwrap(),
            encapsulation_key: &mut pair.encapsulation_key,
            decapsulation_key: &mut pair.decapsulation_key,
        })
        .collect();
    lanes.generate(&mut ops);
    assert!(lanes.is_wiped());
    pairs
}

fn outcomes<T>(outcome: Outcome, results: Vec<T>) -> Vec<Result<T, Refused>> {
    let results = results.into_iter().zip(outcome);
    results
        .map(|(result, outcome)| outcome.map(|()| result))
        .collect()
}

/// Our encapsulations of these messages under these keys. What is refused must be zero.
pub fn our_encapsulations<const K: usize>(
    lanes: &mut Lanes<K>,
    inputs: &[(&[u8], [u8; 32])],
) -> Vec<Result<Sealed, Refused>> {
    let empty = Sealed {
        ciphertext: vec![0xaa; Lanes::<K>::CIPHERTEXT],
        shared_secret: [0xaa; 32],
    };
    let mut sealed = vec![empty; inputs.len()];
    let mut ops: Vec<_> = inputs
        .iter()
        .zip(&mut sealed)
        .map(|((key, m), sealed)| Encapsulation {
            encapsulation_key: key,
            m,
            ciphertext: &mut sealed.ciphertext,
            shared_secret: &mut sealed.shared_secret,
        })
        .collect();
    let outcome = lanes.encapsulate(&mut ops);
    assert!(lanes.is_wiped());
    for (sealed, _) in sealed
        .iter()
        .zip(outcome)
        .filter(|(_, outcome)| outcome.is_err())
    {
        assert!(sealed.ciphertext.iter().all(|byte| *byte == 0));
        assert_eq!(sealed.shared_secret, [0; 32]);
    }
    assert!(outcome[inputs.len()..].iter().all(Result::is_ok));
    outcomes(outcome, sealed)
}

/// Our decapsulations of these ciphertexts with these keys. What is refused must be zero.
pub fn our_decapsulations<const K: usize>(
    lanes: &mut Lanes<K>,
    inputs: &[(&[u8], &[u8])],
) -> Vec<Result<[u8; 32], Refused>> {
    let mut secrets = vec![[0xaa; 32]; inputs.len()];
    let mut ops: Vec<_> = inputs
        .iter()
        .zip(&mut secrets)
        .map(|((key, ciphertext), secret)| Decapsulation {
            decapsulation_key: key,
            ciphertext,
            shared_secret: secret,
        })
        .collect();
    let outcome = lanes.decapsulate(&mut ops);
    assert!(lanes.is_wiped());
    for (secret, _) in secrets
        .iter()
        .zip(outcome)
        .filter(|(_, outcome)| outcome.is_err())
    {
        assert_eq!(*secret, [0; 32]);
    }
    assert!(outcome[inputs.len()..].iter().all(Result::is_ok));
    outcomes(outcome, secrets)
}

/// Seeds for a batch of `fill` lanes.
pub fn seeds(bytes: &mut Bytes, fill: usize) -> Vec<[u8; 64]> {
    assert!(fill <= LANES);
    (0..fill).map(|_| bytes.take()).collect()
}
