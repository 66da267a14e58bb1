//! A copy of a process notices that it is one, and draws random bytes of its own, whichever way it was made. One
//! test, so that no thread holds a lock of the C library's when the process is copied.

#![allow(unsafe_code)]

use std::collections::HashSet;
use std::fs::File;
use std::io::Read;
use std::os::fd::FromRawFd;

use spinlane_crypto::{fork_generation, random};

unsafe extern "C" {
    /// glibc's fork(3) without pthread_atfork(3)'s handlers, since 2.34.
    fn _Fork() -> libc::pid_t;
}

fn fork() -> libc::pid_t {
    // SAFETY: the child calls the functions under test, write and _exit.
    unsafe { libc::fork() }
}

fn quiet_fork() -> libc::pid_t {
    // SAFETY: as for `fork`.
    unsafe { _Fork() }
}

fn clone() -> libc::pid_t {
    // SAFETY: as for `fork`; no flags but the signal, no stack, no pointers.
    let pid = unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) };
    pid as libc::pid_t
}

/// Whether this kernel wipes pages in a copy: Linux since 4.14, qemu-user since 7.2.
fn kernel_wipes() -> bool {
    let (len, private) = (4096, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: a mapping of our own, which stays.
    let advised = unsafe {
        let page = libc::mmap(std::ptr::null_mut(), len, libc::PROT_READ, private, -1, 0);
        [-1, libc::MADV_WIPEONFORK].map(|advice| libc::madvise(page, len, advice))
    };
    advised == [-1, 0]
}

fn drawn() -> [u8; 32] {
    let mut bytes = [0; 32];
    random::fill(&mut bytes);
    bytes
}

/// What a copy made by `copy` draws, and whether it notices that it is one.
fn of_copy(copy: fn() -> libc::pid_t) -> ([u8; 32], bool) {
    let own = fork_generation();
    let mut pipe = [0; 2];
    // SAFETY: `pipe` has room for two descriptors.
    assert_eq!(unsafe { libc::pipe(pipe.as_mut_ptr()) }, 0);
    match copy() {
        -1 => panic!("no copy can be made"),
        0 => {
            let mut said = [0; 33];
            said[..32].copy_from_slice(&drawn());
            said[32] = u8::from(fork_generation() != own && fork_generation() == fork_generation());
            // SAFETY: `said` is valid for its length; _exit runs nothing of the parent's.
            unsafe {
                libc::write(pipe[1], said.as_ptr().cast(), said.len());
                libc::_exit(0);
            }
        }
        child => {
            let mut said = [0; 33];
            // SAFETY: the ends are open and owned by nobody else.
            let [mut read, write] = pipe.map(|end| unsafe { File::from_raw_fd(end) });
            drop(write);
            read.read_exact(&mut said).expect("the child writes");
            // SAFETY: the child is ours; a null status is allowed.
            unsafe { libc::waitpid(child, std::ptr::null_mut(), 0) };
            assert_eq!(fork_generation(), own, "the original is no copy");
            (*said.first_chunk().expect("33 bytes"), said[32] == 1)
        }
    }
}

#[test]
fn a_copy_draws_its_own_and_knows_that_it_is_one() {
    let copies = [
        ("fork", fork as fn() -> libc::pid_t),
        ("_Fork", quiet_fork),
        ("clone", clone),
    ];
    for (name, copy) in copies {
        drawn(); // the buffer has bytes now
        let (childs, knows) = of_copy(copy);
        let parents: HashSet<_> = (0..64).map(|_| drawn()).collect();
        assert!(
            !parents.contains(&childs),
            "{name}: the child gave out its parent's bytes"
        );
        assert_ne!(childs, [0; 32], "{name}");
        if name == "fork" || kernel_wipes() {
            assert!(knows, "{name}: the child takes itself for its parent");
        } else {
            eprintln!("SKIPPED that {name} is noticed: this kernel has no MADV_WIPEONFORK");
        }
    }
}
