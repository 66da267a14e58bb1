//! No secret is left behind: neither in the lanes' memory, which they tell themselves, nor on the
//! stack below their caller, which this test reads by `/proc/self/mem`.

#![cfg(all(target_arch = "x86_64", target_os = "linux"))]

use std::fs::File;
use std::os::unix::fs::FileExt;

use spinlane_mlkem::{Cpu, Decapsulation, Encapsulation, KeyGeneration, MlKem768};

/// As far down as is looked: more than the lanes use.
const DEPTH: usize = 64 * 1024;

/// The stack below a frame of its own.
struct Below {
    memory: File,
    /// Made beforehand, so that nothing runs between an operation and the look.
    copy: Vec<u8>,
}

impl Below {
    fn new() -> Self {
        Self {
            memory: File::open("/proc/self/mem").unwrap(),
            copy: vec![0; DEPTH],
        }
    }

    /// Runs `body`, then looks whether any 16 bytes of `secrets` lie where it ran.
    #[inline(never)]
    fn leaves(
        &mut self,
        body: impl FnOnce(),
        secrets: &[(&'static str, &[u8])],
    ) -> Vec<&'static str> {
        let here = 0_u8;
        body();
        let bottom = (&raw const here).addr() - DEPTH;
        let read = self.memory.read_at(&mut self.copy, bottom as u64).unwrap();
        assert_eq!(read, DEPTH);
        let found = |secret: &[u8]| {
            let mut windows = secret.chunks_exact(16);
            windows.any(|window| self.copy.windows(16).any(|bytes| bytes == window))
        };
        let secrets = secrets.iter().filter(|(_, secret)| found(secret));
        secrets.map(|(name, _)| *name).collect()
    }
}

/// The coefficients of a secret vector, as they lie in registers.
fn coefficients(packed: &[u8]) -> Vec<u8> {
    let words = packed.chunks_exact(3).flat_map(|three| {
        let [a, b, c] = [three[0], three[1], three[2]].map(u16::from);
        [a | (b & 15) << 8, b >> 4 | c << 4]
    });
    words.flat_map(u16::to_le_bytes).collect()
}

#[test]
fn nothing_secret_is_left_on_the_stack() {
    let Ok(cpu) = Cpu::detect().inspect_err(|lacks| eprintln!("skipped: this CPU lacks {lacks}"))
    else {
        return;
    };
    let mut lanes = MlKem768::new(cpu);
    let mut below = Below::new();
    let byte = |i: usize, salt: usize| (i * i + 7 * i * salt + salt) as u8;
    let [d, z, m]: [Box<[u8; 32]>; 3] =
        [3, 5, 9].map(|salt| Box::new(std::array::from_fn(|i| byte(i, salt))));
    let mut keys = (
        vec![0; MlKem768::ENCAPSULATION_KEY],
        vec![0; MlKem768::DECAPSULATION_KEY],
    );
    let mut sealed = (vec![0; MlKem768::CIPHERTEXT], Box::new([0; 32]));
    let mut opened = Box::new([0; 32]);

    let left = below.leaves(
        || {
            lanes.generate(&mut [KeyGeneration {
                d: &d,
                z: &z,
                encapsulation_key: &mut keys.0,
                decapsulation_key: &mut keys.1,
            }]);
        },
        &[("d", &d[..]), ("z", &z[..])],
    );
    assert_eq!(left, [""; 0], "after generation");
    let vector = coefficients(&keys.1[..1152]);

    let left = below.leaves(
        || {
            let outcome = lanes.encapsulate(&mut [Encapsulation {
                encapsulation_key: &keys.0,
                m: &m,
                ciphertext: &mut sealed.0,
                shared_secret: &mut sealed.1,
            }]);
            assert!(outcome[0].is_ok());
        },
        &[("m", &m[..])],
    );
    assert_eq!(left, [""; 0], "after encapsulation");

    let shared_secret = sealed.1.clone();
    let left = below.leaves(
        || {
            let outcome = lanes.decapsulate(&mut [Decapsulation {
                decapsulation_key: &keys.1,
                ciphertext: &sealed.0,
                shared_secret: &mut opened,
            }]);
            assert!(outcome[0].is_ok());
        },
        &[
            ("the shared secret", &shared_secret[..]),
            ("m", &m[..]),
            ("z", &z[..]),
            ("the secret vector", &keys.1[..1152]),
            ("its coefficients", &vector),
        ],
    );
    assert_eq!(left, [""; 0], "after decapsulation");
    assert_eq!(opened, shared_secret);
}
