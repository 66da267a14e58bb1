//! A DPDK port with a stack on each of its queue pairs.

use std::net::{Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use spinlane_dpdk::{Eal, EalConfig, Port, PortConfig, QueuePair};
use spinlane_net::{Mesh, Stack};

use super::{PacketArgs, Packets, Via};
use crate::Network;

/// Cards take some seconds to agree with the other end of their cable.
const LINK: Duration = Duration::from_secs(9);
/// Where it listens by default.
const PORT: u16 = 8443;

/// A core's queue pair.
pub type Queues = Mesh<QueuePair>;

impl super::Port for Queues {
    fn losses(&self) -> Vec<(&'static str, u64)> {
        let losses = self.io().losses();
        vec![
            ("in_pieces", losses.in_pieces),
            ("no_packet", losses.no_packet),
            ("ring_full", losses.ring_full),
            ("other_core_full", self.lost()),
        ]
    }

    fn handed(&self) -> u64 {
        Mesh::handed(self)
    }
}

fn is_card(spec: &str) -> bool {
    spec.matches(':').count() == 2
}

/// A shared memory whose other end may come later.
fn waits_for_peer(spec: &str) -> bool {
    spec.starts_with("net_memif")
}

/// Whether the link comes up in time: both ends of a cable have to agree first.
fn comes_up(port: &Port) -> bool {
    let deadline = Instant::now() + LINK;
    while !port.is_up() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(10));
    }
    port.is_up()
}

/// DPDK, started for a port.
///
/// # Errors
/// It cannot be.
pub fn start(args: &PacketArgs, spec: &str) -> Result<Eal> {
    let config = EalConfig {
        memory_mib: u32::try_from(args.port_memory.get()).unwrap_or(u32::MAX),
        pci: is_card(spec).then(|| spec.to_owned()).into_iter().collect(),
        extra: args
            .eal
            .iter()
            .flat_map(|text| text.split_whitespace().map(str::to_owned))
            .collect(),
        ..EalConfig::default()
    };
    Eal::init(&config).context("--port")
}

/// Opens the port, with a stack for each of `cores` that may have `flows` connections of the application's, and lets them listen.
///
/// # Errors
/// The port, or an address, is at fault; the text says which, and what to do.
pub fn open(
    eal: &Eal,
    args: &PacketArgs,
    spec: &str,
    listen: Option<SocketAddr>,
    via: Via,
    (cores, flows): (usize, usize),
) -> Result<Network<Packets<Queues>>> {
    let address = listen.unwrap_or(SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), PORT));
    let cores = u16::try_from(cores).context("--cores")?;
    let (port, stacks) = stacks(eal, args, spec, cores, flows, address.port())?;
    ensure!(
        port.is_up() || waits_for_peer(spec) || (is_card(spec) && comes_up(&port)),
        "--port {spec}: the link is down; plug the cable in, or `ip link set dev … up` on both of its ends"
    );
    let mut open: Vec<crate::Open<Packets<Queues>>> = Vec::new();
    for mut stack in stacks {
        let listener = stack.listen(address);
        let listener = listener.with_context(|| format!("--listen {address}"))?;
        open.push(Box::new(move || Packets::new(stack, Some(listener), via)));
    }
    Ok(Network {
        address: reachable(address, args),
        about: about(&port, args, cores),
        open,
        watch: watch(port),
    })
}

/// Opens the port for one core that only connects to others. Waits for the link.
///
/// # Errors
/// As for [`open`].
pub fn client(
    eal: &Eal,
    args: &PacketArgs,
    spec: &str,
    flows: usize,
) -> Result<crate::Open<Packets<Queues>>> {
    let (port, stacks) = stacks(eal, args, spec, 1, flows, 0)?;
    ensure!(
        comes_up(&port),
        "--port {spec}: the link stays down; start the other end first"
    );
    let stack = stacks.into_iter().next().context("--port")?;
    Ok(Box::new(move || Packets::new(stack, None, Via::Port)))
}

/// The port, and a stack on each of its queue pairs.
fn stacks(
    eal: &Eal,
    args: &PacketArgs,
    spec: &str,
    cores: u16,
    flows: usize,
    listening: u16,
) -> Result<(Port, Vec<Stack<Queues>>)> {
    if let Some(mac) = args.mac {
        ensure!(
            !mac.is_multicast(),
            "--mac {mac}: the address of a group of stations; choose one whose first byte is even, e.g. 02:…"
        );
    }
    let config = PortConfig {
        queues: cores,
        mac: args.mac,
        ..PortConfig::default()
    };
    let (port, pairs) = Port::open(eal, spec, &config).with_context(|| format!("--port {spec}"))?;
    let first = args.config(port.mac(), 0, cores, flows)?;
    let meshes = Mesh::new(pairs, &first.ports, listening).context("--port")?;
    let mut stacks = Vec::new();
    for (core, mesh) in (0..).zip(meshes) {
        let config = args.config(port.mac(), core, cores, flows)?;
        let stack = Stack::new(config, mesh).with_context(|| format!("--port {spec}"))?;
        stacks.push(stack);
    }
    Ok((port, stacks))
}

/// An address that clients may use.
fn reachable(address: SocketAddr, args: &PacketArgs) -> SocketAddr {
    let ip = match args.ip.first() {
        Some(interface) if address.ip().is_unspecified() => interface.address,
        _ => address.ip(),
    };
    SocketAddr::new(ip, address.port())
}

fn about(port: &Port, args: &PacketArgs, cores: u16) -> String {
    let ips: Vec<String> = args
        .ip
        .iter()
        .map(|interface| format!("{}/{}", interface.address, interface.prefix))
        .collect();
    let checksums = if port.caps().tx_checksums {
        "by the port"
    } else {
        "in software"
    };
    format!(
        "  port         {}, {}, {}, {cores} queue pair(s), MTU {}, checksums {checksums}\n",
        port.name(),
        port.mac(),
        ips.join(" "),
        port.caps().mtu,
    )
}

/// Says when the link goes and comes.
fn watch(port: Port) -> Box<dyn FnMut()> {
    let mut was_up = true;
    Box::new(move || {
        let is_up = port.is_up();
        match (std::mem::replace(&mut was_up, is_up), is_up) {
            (true, false) => tracing::warn!("--port {}: the link is down", port.name()),
            (false, true) => tracing::info!("--port {}: the link is up again", port.name()),
            _ => {}
        }
    })
}
