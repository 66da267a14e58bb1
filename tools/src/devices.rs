//! `spinlane devices`: which crypto devices this machine has.

use anyhow::Result;
use spinlane::cryptodev::Device;
use spinlane::device::{DPDK, PKCS11, SPECS, WRAPPERS, open};

/// The one of DPDK's devices that needs no card.
const DPDK_EXAMPLE: &str = "dpdk:crypto_openssl";

/// Prints for each device what it offers, or why it cannot be had and what to do.
///
/// # Errors
/// None.
pub fn run() -> Result<()> {
    for spec in SPECS.into_iter().chain([DPDK_EXAMPLE]) {
        match open(spec) {
            Ok(device) if device.name() != spec => {
                println!("{spec:<5} stands for {}", device.name())
            }
            Ok(device) => {
                let kinds = device.capabilities();
                let kinds: Vec<&str> = kinds.iter().map(|kind| kind.name()).collect();
                println!(
                    "{spec:<5} available, {}; ops: {}; AEAD: {}",
                    lanes(&*device),
                    kinds.join(", "),
                    algorithms(&*device)
                );
                for note in device.notes() {
                    println!("{:<5} {note}", "");
                }
            }
            Err(error) => println!("{spec:<5} not available: {error}"),
        }
    }
    println!("others of DPDK's:\n{DPDK}");
    println!("keys that stay on a token:\n{PKCS11}");
    println!("around others:");
    for wrapper in WRAPPERS {
        println!("{wrapper}");
    }
    Ok(())
}

/// What it seals and opens bulk data with.
fn algorithms(device: &dyn Device) -> String {
    let capabilities = device.record_capabilities();
    if capabilities.is_empty() {
        return "none".to_owned();
    }
    let names: Vec<&str> = capabilities
        .iter()
        .map(|algorithm| algorithm.name())
        .collect();
    names.join(", ")
}

fn lanes(device: &dyn Device) -> &'static str {
    match device.name() {
        "mb" => "8 lanes: ops of one kind run in batches",
        _ => "1 lane: ops run one at a time",
    }
}
