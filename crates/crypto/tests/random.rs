//! Randomness: distinct, and of any length.

#![forbid(unsafe_code)]

use std::collections::HashSet;
use std::thread;

use spinlane_crypto::random;

fn drawn() -> [u8; 32] {
    let mut bytes = [0; 32];
    random::fill(&mut bytes);
    bytes
}

#[test]
fn nothing_comes_twice() {
    random::warm_up();
    let other_threads: Vec<_> = (0..4)
        .map(|_| thread::spawn(|| [(); 100].map(|()| drawn())))
        .collect();
    let mut seen: HashSet<_> = (0..1000).map(|_| drawn()).collect();
    for thread in other_threads {
        seen.extend(thread.join().expect("no panic"));
    }
    assert_eq!(seen.len(), 1400);
}

#[test]
fn every_length_is_filled() {
    for len in [0, 1, 31, 255, 256, 257, 1023, 1024, 1025, 100_000] {
        let mut bytes = vec![0; len];
        random::fill(&mut bytes);
        // 24 zeros in a row come by chance once in 2^192.
        assert!(
            bytes
                .chunks(24)
                .all(|chunk| chunk.len() < 24 || chunk.iter().any(|byte| *byte != 0)),
            "{len}"
        );
    }
}
