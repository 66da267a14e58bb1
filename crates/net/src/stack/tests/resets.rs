//! Connections that end by a reset at any moment.

use super::*;
use crate::sim::Rng;

/// 10,000 connections in waves, each reset by either side: before its SYN leaves, half open, with data under way, behind its
/// FIN. Nothing of them is left.
#[test]
fn ten_thousand_connections_reset_at_random_moments_leave_nothing() {
    const WAVES: usize = 100;
    const OF_A_WAVE: usize = 100;
    let mut rng = Rng::new(17);
    let mut pair = Pair::new(false);
    pair.settle();
    let (mut accepted, mut aborted) = (0, [0; 2]);
    for _ in 0..WAVES {
        let mut ids: [Vec<FlowId>; 2] = [Vec::new(), Vec::new()];
        for _ in 0..OF_A_WAVE {
            ids[0].push(pair.stacks[0].connect(pair.server).unwrap());
        }
        while !ids.iter().all(Vec::is_empty) {
            // Half of a round trip, after which something happens to some.
            let from = rng.below(2) as usize;
            let now = pair.now();
            pair.stacks[from].transmit(now);
            let sent = std::mem::take(&mut pair.stacks[from].io().sent);
            let to = &mut pair.stacks[1 - from];
            to.io().arrived.extend(sent);
            while to.receive(now, |_, _| 0) > 0 {}
            while let Some(id) = pair.stacks[1].accept(pair.listener) {
                accepted += 1;
                ids[1].push(id);
            }
            for side in 0..2 {
                let stack = &mut pair.stacks[side];
                ids[side].retain(|&id| {
                    if stack.end(id).is_some() {
                        stack.release(id);
                        return false;
                    }
                    match rng.below(16) {
                        0 => {
                            stack.abort(id);
                            aborted[side] += 1;
                            return false;
                        }
                        1 => stack.close(id),
                        2..=8 => {
                            stack.write(id, &[7; 5000]);
                        }
                        _ => {
                            stack.read(id, |[first, _]| first.len() / 2);
                        }
                    }
                    true
                });
                while stack.next_ready().is_some() {}
            }
            pair.ms += 1;
        }
    }
    assert!(accepted > WAVES * OF_A_WAVE / 2, "{accepted}");
    assert!(aborted.iter().all(|count| *count > 1000), "{aborted:?}");
    // Those whose reset met nobody end with the time of an orphan, or of a handshake.
    pair.pass(200_000);
    for side in 0..2 {
        assert_eq!(pair.tables(side), [0; 4], "{side}");
        assert_eq!(pair.stacks[side].due(), None);
    }
}
