//! Addresses as the command line gives them: `HOST:PORT`, and of servers also `unix:PATH`.

use std::fmt;
use std::io::ErrorKind;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};

/// How a unix socket's address begins.
pub const UNIX: &str = "unix:";

/// Where a server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// By TCP.
    Ip(SocketAddr),
    /// A unix socket of this machine.
    Unix(Arc<Path>),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "{UNIX}{}", path.display()),
        }
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self::Ip(address)
    }
}

/// All addresses of the server that `text` stands for, as [`resolve`] has them; or its unix socket. May block.
///
/// # Errors
/// `text` is no address, or port 0.
pub fn resolve_server(text: &str) -> Result<Vec<Address>> {
    if let Some(path) = text.strip_prefix(UNIX) {
        ensure!(
            path.starts_with('/'),
            "the path does not begin at the root; write e.g. unix:/run/backend.socket"
        );
        return Ok(vec![Address::Unix(Path::new(path).into())]);
    }
    ensure!(!text.ends_with(":0"), "port 0 cannot be connected to");
    Ok(resolve(text)?.into_iter().map(Address::Ip).collect())
}

/// All addresses that `text` stands for, in the resolver's order; at least one. May block.
///
/// # Errors
/// `text` is no `HOST:PORT`, or the host has no address.
pub fn resolve(text: &str) -> Result<Vec<SocketAddr>> {
    if let Ok(address) = text.parse() {
        return Ok(vec![address]);
    }
    ensure!(
        !text.contains('/'),
        "a path or a URL is no address, only TCP is spoken here; write HOST:PORT, e.g. 127.0.0.1:8443"
    );
    let Some((host, port)) = text.rsplit_once(':') else {
        bail!("not an address; write HOST:PORT, e.g. 127.0.0.1:8443");
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let port: u16 = port
        .parse()
        .ok()
        .with_context(|| format!("{port:?} is no port; write HOST:PORT, port 0 to 65535"))?;
    ensure!(
        !host.is_empty(),
        "the host is missing; write HOST:PORT, e.g. 127.0.0.1:{port}"
    );
    let found = (host, port)
        .to_socket_addrs()
        .with_context(|| format!("host {host:?} cannot be resolved"))?;
    let mut addresses = Vec::new();
    for address in found {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    ensure!(!addresses.is_empty(), "host {host:?} has no address");
    Ok(addresses)
}

/// The first address that `text` stands for.
///
/// # Errors
/// As for [`resolve`].
pub fn resolve_one(text: &str) -> Result<SocketAddr> {
    resolve(text)?.first().copied().context("no address")
}

/// What to do when an address cannot be listened on.
pub fn listen_remedy(address: SocketAddr, error: &std::io::Error) -> String {
    let port = address.port();
    match error.kind() {
        ErrorKind::PermissionDenied => format!(
            "port {port} takes a privilege; give the program the capability \
             (setcap cap_net_bind_service=+ep /path/to/spinlane), or choose a port from 1024 on"
        ),
        ErrorKind::AddrNotAvailable => "choose an address of this machine".to_owned(),
        _ => "free the port or choose another address".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_resolved_or_explained() {
        let one = |text| resolve_one(text).unwrap().to_string();
        assert_eq!(one("127.0.0.1:1"), "127.0.0.1:1");
        assert_eq!(one("[::1]:2"), "[::1]:2");
        assert_eq!(resolve_one("localhost:3").unwrap().port(), 3);
        for (text, says) in [
            ("nowhere", "HOST:PORT"),
            (":80", "host is missing"),
            ("127.0.0.1:99999", "\"99999\" is no port"),
            ("unix:/run/backend", "only TCP"),
            ("http://127.0.0.1:80", "only TCP"),
        ] {
            let error = format!("{:#}", resolve(text).unwrap_err());
            assert!(error.contains(says), "{text}: {error}");
        }
    }

    #[test]
    fn a_port_that_takes_a_privilege_is_told_from_one_in_use() {
        let address = SocketAddr::from(([127, 0, 0, 1], 443));
        let remedy = |kind: ErrorKind| listen_remedy(address, &kind.into());
        assert!(remedy(ErrorKind::PermissionDenied).contains("port 443 takes a privilege"));
        assert!(remedy(ErrorKind::PermissionDenied).contains("cap_net_bind_service"));
        assert!(remedy(ErrorKind::AddrInUse).contains("free the port"));
    }
}
