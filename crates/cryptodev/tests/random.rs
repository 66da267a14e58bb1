//! Randomness: distinct, of any length, and never shared with a forked child.

#![allow(unsafe_code)]

use std::collections::HashSet;
use std::fs::File;
use std::io::Read;
use std::os::fd::FromRawFd;
use std::thread;

use spinlane_cryptodev::random;

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

#[test]
fn a_forked_child_draws_its_own() {
    drawn(); // the parent's buffer is full now
    let mut pipe = [0; 2];
    // SAFETY: `pipe` has room for two descriptors.
    assert_eq!(unsafe { libc::pipe(pipe.as_mut_ptr()) }, 0);
    // SAFETY: the child calls nothing but the function under test, write and _exit.
    match unsafe { libc::fork() } {
        -1 => panic!("fork failed"),
        0 => {
            let bytes = drawn();
            // SAFETY: `bytes` is valid for its length; _exit runs nothing of the parent's.
            unsafe {
                libc::write(pipe[1], bytes.as_ptr().cast(), bytes.len());
                libc::_exit(0);
            }
        }
        child => {
            let parents: HashSet<_> = (0..64).map(|_| drawn()).collect();
            let mut childs = [0; 32];
            // SAFETY: the read end is open and owned by nobody else.
            let mut end = unsafe { File::from_raw_fd(pipe[0]) };
            end.read_exact(&mut childs).expect("the child writes");
            // SAFETY: the child is ours; a null status is allowed.
            unsafe { libc::waitpid(child, std::ptr::null_mut(), 0) };
            assert!(
                !parents.contains(&childs),
                "the child gave out its parent's bytes"
            );
        }
    }
}
