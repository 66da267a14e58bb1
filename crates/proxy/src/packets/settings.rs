//! The part of the command line that is about packets.

use std::net::IpAddr;

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Deserializer};
use spinlane_net::{Config, Interface, Mac};

use crate::config::{Number, Origin, defaults, text, texts};

/// How the backend is connected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Via {
    /// By the same stack, over the same port.
    Port,
    /// By the kernel's sockets.
    Kernel,
}

/// A port in place of the kernel's sockets.
#[derive(Clone, Debug, PartialEq, clap::Args, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PacketArgs {
    /// Take clients from this DPDK port, by a TCP/IP stack of our own, in place of the kernel's sockets: a virtual device with its
    /// arguments, such as `net_af_packet0,iface=veth1` (`qpairs=2` for two cores), or a PCI address.
    #[arg(long, value_name = "SPEC")]
    pub port: Option<String>,
    /// An address of ours and its network, such as 10.0.0.2/24 or fd00::2/64.
    #[arg(long, value_name = "IP/BITS", value_parser = interface)]
    #[serde(deserialize_with = "interfaces")]
    pub ip: Vec<Interface>,
    /// Who takes packets for other networks; one per family.
    #[arg(long, value_name = "IP")]
    #[serde(deserialize_with = "texts")]
    pub gateway: Vec<IpAddr>,
    /// Ethernet address, if not the port's own.
    #[arg(long, value_name = "MAC")]
    #[serde(deserialize_with = "mac")]
    pub mac: Option<Mac>,
    /// Memory for packets where there are no hugepages.
    #[arg(long, value_name = "MIB", default_value = "256")]
    pub port_memory: Number<16, { 1 << 20 }>,
    /// Further arguments for EAL, as on a DPDK application's command line.
    #[arg(long, value_name = "ARGUMENTS", allow_hyphen_values = true)]
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

fn interfaces<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Interface>, D::Error> {
    let all: Vec<String> = texts(from)?;
    let read = |text: &String| interface(text).map_err(|error| format!("{text}: {error}"));
    let all: Result<Vec<Interface>, String> = all.iter().map(read).collect();
    all.map_err(serde::de::Error::custom)
}

fn mac<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Mac>, D::Error> {
    text(from).map(Some)
}

impl Default for PacketArgs {
    fn default() -> Self {
        defaults()
    }
}

impl PacketArgs {
    /// Checks that there is a port, with an address, or nothing that needs one.
    ///
    /// # Errors
    /// Something is missing; the text names it.
    pub(crate) fn check(&self, origin: &Origin) -> Result<()> {
        let Some(port) = &self.port else {
            let given = [
                ("ip", !self.ip.is_empty()),
                ("gateway", !self.gateway.is_empty()),
                ("mac", self.mac.is_some()),
                ("eal", self.eal.is_some()),
            ];
            if let Some((key, _)) = given.into_iter().find(|(_, given)| *given) {
                let place = origin.place(&format!("packets.{key}"));
                bail!("{place}: {key} is of use with a port only; give --port");
            }
            return Ok(());
        };
        ensure!(
            !self.ip.is_empty(),
            "{}: the port has no address; give --ip",
            origin.name("packets.port", port)
        );
        Ok(())
    }

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
