//! Signing without TLS: a thousand ECDSA signatures on P-256, many in flight, by one thread.
//!
//! ```text
//! cargo run --release --example sign [DEVICE [CAPACITY]]
//! ```

use std::collections::VecDeque;

use spinlane::crypto::digest::{Digest, Hasher};
use spinlane::crypto::{EcP256Key, Key, random};
use spinlane::cryptodev::{KeyHandle, OpKind, QueuePairConfig, Request};
use spinlane::lcore::{Submitted, Ticket};
use spinlane::{Config, Conn, Lcore};

const MESSAGES: u64 = 1000;

fn digest(number: u64) -> [u8; 32] {
    let mut hasher = Hasher::new(Digest::Sha256);
    hasher.update(&number.to_be_bytes());
    let mut digest = [0; 32];
    hasher.finish(&mut digest);
    digest
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let device = spinlane::device::open(args.first().map_or("auto", String::as_str))?;
    let mut config = QueuePairConfig::default();
    if let Some(capacity) = args.get(1) {
        config.capacity = capacity.parse()?;
    }
    let lcore = Lcore::new(Config::default());
    lcore.add_queue_pair(device.queue_pair(config)?);

    let mut scalar = [0; 32];
    random::fill(&mut scalar);
    let key = EcP256Key::from_scalar(&scalar)?;
    let handle = KeyHandle::local(Key::EcP256(EcP256Key::from_scalar(&scalar)?));

    let mut in_flight: VecDeque<(u64, Ticket)> = VecDeque::new();
    let (mut next, mut signed, mut refused) = (0, 0, None);
    let mut refusals = 0;
    while signed < MESSAGES {
        // Submits until the queue pair is full. Who is refused has a place in its queue, and is told when there is room.
        while next < MESSAGES {
            let digest = digest(next);
            let request = Request::ecdsa_p256(&handle, &digest)?;
            let submitted = match refused.take() {
                None => lcore.submit(&request, Conn(next))?,
                Some((refusal, true)) => {
                    spinlane::lcore::Refusal::retry(refusal, &request, Conn(next))?
                }
                waits => {
                    refused = waits;
                    break;
                }
            };
            match submitted {
                Submitted::Accepted(ticket) => {
                    in_flight.push_back((next, ticket));
                    next += 1;
                }
                Submitted::Refused(refusal) => {
                    refused = Some((refusal, false));
                    refusals += 1;
                }
            }
        }
        lcore.poll()?;
        // A name is an op that has ended, or the one that was refused.
        while let Some(Conn(name)) = lcore.next_ready() {
            if let Some((_, may_retry)) = refused.as_mut().filter(|_| name == next) {
                *may_retry = true;
            }
        }
        while let Some((number, ticket)) = in_flight.pop_front() {
            let mut signature = [0; 64];
            debug_assert_eq!(signature.len(), OpKind::EcdsaP256.output_len());
            match ticket.take(&mut signature) {
                Ok(result) => {
                    result?;
                    if !key.is_signed(&digest(number), &signature) {
                        return Err(format!("the signature of message {number} is wrong").into());
                    }
                    signed += 1;
                }
                Err(ticket) => {
                    in_flight.push_front((number, ticket));
                    break;
                }
            }
        }
    }
    let stats = lcore.stats().channels.swap_remove(0);
    println!(
        "signed {signed} device {} in_flight_peak {} refused {refusals}",
        stats.device, stats.in_flight_peak
    );
    Ok(())
}
