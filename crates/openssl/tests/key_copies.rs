//! A key that was bound and freed leaves no copy of its private numbers in this process's memory.

#![allow(
    clippy::undocumented_unsafe_blocks,
    reason = "each block is a call on a key that lives"
)]

mod provider_support;

use std::collections::HashSet;
use std::ffi::CStr;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::ptr;

use openssl_sys::*;
use provider_support::*;

/// Bytes by which a copy is recognised: a private number has none of its pieces by chance.
const PIECE: usize = 8;

/// A private number, masked so that it is not found itself.
struct Masked(Vec<u8>);

const MASK: u8 = 0xa5;

fn word(piece: &[u8]) -> u64 {
    u64::from_le_bytes(piece.try_into().unwrap())
}

impl Masked {
    fn of(mut number: Vec<u8>) -> Self {
        let masked = number.iter().map(|byte| byte ^ MASK).collect();
        number.fill(0);
        std::hint::black_box(&mut number);
        Self(masked)
    }

    /// Pieces of it, or of its mirror image, in what this process can write to.
    fn pieces(&self) -> usize {
        let mut mirrored = self.0.clone();
        mirrored.reverse();
        let pieces = [&self.0, &mirrored].map(|image| image.windows(PIECE).map(word).collect());
        let wanted: [HashSet<u64>; 2] = pieces;
        let mut may_be = vec![false; 1 << 16];
        let all = wanted.iter().flatten();
        all.for_each(|piece| may_be[usize::from(*piece as u16)] = true);
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let memory = File::open("/proc/self/mem").unwrap();
        let mut found = 0;
        // Masked at once, so that what is read is not found in turn.
        let mut page = [0; 4096 + PIECE - 1];
        for line in maps
            .lines()
            .filter(|line| line.contains(" rw") && !line.contains("[v"))
        {
            let (start, rest) = line.split_once('-').unwrap();
            let end = rest.split_once(' ').unwrap().0;
            let [start, end] = [start, end].map(|hex| u64::from_str_radix(hex, 16).unwrap());
            for at in (start..end).step_by(4096) {
                let len = page.len().min((end - at) as usize);
                if memory.read_exact_at(&mut page[..len], at).is_err() {
                    continue;
                }
                page.iter_mut().for_each(|byte| *byte ^= MASK);
                found += page[..len]
                    .windows(PIECE)
                    .map(word)
                    .filter(|piece| may_be[usize::from(*piece as u16)])
                    .filter(|piece| wanted.iter().any(|wanted| wanted.contains(piece)))
                    .count();
                page.fill(0);
            }
        }
        found
    }
}

fn number_of(key: &Pkey, name: &CStr) -> Vec<u8> {
    unsafe {
        let mut number = ptr::null_mut();
        assert_eq!(EVP_PKEY_get_bn_param(key.0, name.as_ptr(), &mut number), 1);
        let mut bytes = vec![0; (BN_num_bits(number) as usize).div_ceil(8)];
        BN_bn2bin(number, bytes.as_mut_ptr());
        BN_clear_free(number);
        bytes
    }
}

fn raw_private(key: &Pkey) -> Vec<u8> {
    let (mut bytes, mut len) = (vec![0; 32], 32);
    assert_eq!(
        unsafe { EVP_PKEY_get_raw_private_key(key.0, bytes.as_mut_ptr(), &mut len) },
        1
    );
    bytes
}

#[test]
fn a_bound_key_leaves_nothing_when_it_is_freed() {
    // What is allocated once is there before it is counted.
    drop(Pkey::rsa(stock(), 2048).bound());
    let rsa = || Pkey::rsa(stock(), 2048);
    let ec = |curve| Pkey::ec(stock(), curve);
    for (key, name) in [
        (rsa(), c"rsa-factor1"),
        (rsa(), c"d"),
        (ec(c"P-256"), c"priv"),
        (ec(c"P-384"), c"priv"),
    ] {
        let number = Masked::of(number_of(&key, name));
        let before = number.pieces();
        assert_ne!(before, 0, "a key that lives is found: {name:?}");
        drop(key.bound());
        let after = number.pieces();
        assert!(
            after <= before,
            "{name:?}: {before} pieces before, {after} after"
        );
    }
}

#[test]
fn nor_does_an_ed25519_key() {
    let key = Pkey::plain(stock(), c"ED25519");
    let seed = Masked::of(raw_private(&key));
    let before = seed.pieces();
    drop(key.bound());
    assert!(seed.pieces() <= before);
}
