//! The part of the command line that is about packets.

use std::net::IpAddr;

use anyhow::{Context, Result};
use spinlane_net::{Config, Interface, Mac};

/// How the backend is connected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Via {
    /// By the same stack, over the same port.
    Port,
    /// By the kernel's sockets.
    Kernel,
}

/// A port in place of the kernel's sockets.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct PacketArgs {
    /// Take clients from this DPDK port, by a TCP/IP stack of our own, in place of the kernel's sockets: a virtual device with its
    /// arguments, such as `net_af_packet0,iface=veth1` (`qpairs=2` for two cores), or a PCI address.
    #[arg(long, value_name = "SPEC", requires = "ip")]
    pub port: Option<String>,
    /// An address of ours and its network, such as 10.0.0.2/24 or fd00::2/64.
    #[arg(long, value_name = "IP/BITS", requires = "port", value_parser = interface)]
    pub ip: Vec<Interface>,
    /// Who takes packets for other networks; one per family.
    #[arg(long, value_name = "IP", requires = "port")]
    pub gateway: Vec<IpAddr>,
    /// Ethernet address, if not the port's own.
    #[arg(long, value_name = "MAC", requires = "port")]
    pub mac: Option<Mac>,
    /// Memory for packets where there are no hugepages.
    #[arg(long, value_name = "MIB", default_value_t = 256, requires = "port", value_parser = clap::value_parser!(u32).range(16..=1 << 20))]
    pub port_memory: u32,
    /// Further arguments for EAL, as on a DPDK application's command line.
    #[arg(
        long,
        value_name = "ARGUMENTS",
        requires = "port",
        allow_hyphen_values = true
    )]
    pub eal: Option<String>,
}

fn interface(text: &str) -> Result<Interface, String> {
    let wrong =
        || "not an address with its network; write e.g. 10.0.0.2/24 or fd00::2/64".to_owned();
    let (address, prefix) = text.split_once('/').ok_or_else(wrong)?;
    Ok(Interface {
        address: address.parse().map_err(|_| wrong())?,
        prefix: prefix.parse().map_err(|_| wrong())?,
    })
}

impl PacketArgs {
    /// What core `core` of `cores` makes its stack with, for so many connections of the application's.
    ///
    /// # Errors
    /// There is no address.
    pub fn config(&self, mac: Mac, core: u16, cores: u16, flows: usize) -> Result<Config> {
        let first = self.ip.first().context("--ip: give one")?;
        let mut secret = [0; 48];
        spinlane::crypto::random::fill(&mut secret);
        let mut config = Config::new(mac, *first, secret);
        config.interfaces.clone_from(&self.ip);
        config.gateways.clone_from(&self.gateway);
        // Beside the application's: those that come, and those that it has let go of.
        let others = config.max_half_open + config.backlog + SPARE_FLOWS;
        config.max_flows = u32::try_from(flows)
            .unwrap_or(u32::MAX)
            .saturating_add(others);
        (config.ports.cores, config.ports.core) = (cores, core);
        Ok(config)
    }
}

/// Room for connections that are closing.
const SPARE_FLOWS: u32 = 16_384;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_their_network() {
        let read = interface("fd00::2/64").unwrap();
        assert_eq!(
            (read.address, read.prefix),
            ("fd00::2".parse().unwrap(), 64)
        );
        for text in [
            "10.0.0.2",
            "10.0.0/8",
            "10.0.0.2/",
            "10.0.0.2/x",
            "10.0.0.2/256",
            "",
        ] {
            assert!(
                interface(text).unwrap_err().contains("10.0.0.2/24"),
                "{text}"
            );
        }
    }
}
