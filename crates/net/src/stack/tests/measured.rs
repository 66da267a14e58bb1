//! What a SYN costs in a flood, and a connection beside many idle ones. The stacks are in memory and frames are copied by the port, so
//! that the figures have both in them.

use std::time::{Duration, Instant as Clock};

use super::*;

/// Prints the time per SYN of strangers, from the frame to the answer, once cookies answer them.
#[test]
#[ignore = "measures: cargo test --release -p spinlane-net --lib measured -- --ignored --nocapture"]
fn a_syn_in_a_flood() {
    const SYNS: u32 = 200_000;
    const BURST: u32 = 32;
    let mut pair = Pair::new(false);
    pair.settle();
    let mut taken = Duration::ZERO;
    for first in (0..SYNS).step_by(BURST as usize) {
        for number in first..first + BURST {
            let frame = strangers_syn(number);
            pair.stacks[1].io().arrived.push_back(frame);
        }
        let now = pair.now();
        let begun = Clock::now();
        while pair.stacks[1].receive(now, |_, _| 0) > 0 {}
        pair.stacks[1].transmit(now);
        taken += begun.elapsed();
        pair.stacks[1].io().sent.clear();
    }
    let counters = pair.stacks[1].counters();
    assert_eq!(counters.cookies_sent, u64::from(SYNS - 4096));
    println!("{} ns per SYN", taken.as_nanos() / u128::from(SYNS));
}

/// Prints the time of a connection, both stacks', of 1 KB and back, beside 100 idle ones and beside 100,000.
#[test]
#[ignore = "measures: cargo test --release -p spinlane-net --lib measured -- --ignored --nocapture"]
fn a_connection_beside_idle_ones() {
    const CONNECTIONS: u32 = 10_000;
    let mut pair = Pair::with(false, |config| config.ports.range = 1024..=65_535);
    pair.settle();
    let servers: Vec<_> = (443..454)
        .map(|port| SocketAddr::new(ip(false, 2), port))
        .collect();
    let mut listeners = vec![pair.listener];
    for server in &servers[1..] {
        listeners.push(pair.stacks[1].listen(*server).unwrap());
    }
    let mut idle = 0;
    for wanted in [100, 100_000] {
        while idle < wanted {
            // 10,000 local ports for each of the server's.
            pair.server = servers[idle / 10_000];
            pair.listener = listeners[idle / 10_000];
            pair.connected();
            idle += 1;
        }
        // They come to rest.
        pair.pass(5_000);
        (pair.server, pair.listener) = (servers[10], listeners[10]);
        let begun = Clock::now();
        for number in 0..CONNECTIONS {
            let [client, server] = pair.connected();
            pair.write(0, client, &[7; 1024]);
            pair.read(1, server);
            pair.write(1, server, &[8; 1024]);
            pair.read(0, client);
            pair.stacks[0].release(client);
            pair.stacks[1].release(server);
            pair.settle();
            pair.ms += u64::from(number % 8 == 0);
        }
        let each = begun.elapsed().as_nanos() / u128::from(CONNECTIONS);
        let memory = crate::memory_per_idle_connection();
        println!("{idle} idle: {each} ns per connection, both ends; {memory} bytes per idle one");
        assert_eq!(pair.stacks[1].flows(), idle);
        // The ports wait out their time.
        pair.pass(20_000);
    }
}
