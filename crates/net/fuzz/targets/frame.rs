//! Frames of any kind, to a stack with a server and connections: no panic, and no table grows beyond its bound.
//!
//! The input is a list of steps, each a byte that says what, a length, and so many bytes: a frame as it is; a frame whose
//! checksums are made right; a segment of a known client, whose numbers lie near those expected; time; the application's work.

#![no_main]

use libfuzzer_sys::fuzz_target;
use spinlane_net::sim::{Fuzzed, Setup};

fuzz_target!(|data: &[u8]| {
    let (v6, mut rest) = match data {
        [first, rest @ ..] => (first & 1 == 1, rest),
        [] => return,
    };
    let mut stack = Fuzzed::new(&Setup::quiet(v6, 0, 0));
    while let [what, len, behind @ ..] = rest {
        let (bytes, next) = behind.split_at(behind.len().min(usize::from(*len)));
        stack.step(*what, bytes);
        rest = next;
    }
    stack.check();
});
