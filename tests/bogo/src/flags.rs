//! The runner's flags (ssl/test/test_config.cc in BoringSSL).

use std::path::PathBuf;

/// What the runner asks for.
#[derive(Clone, Debug)]
pub struct Flags {
    pub port: u16,
    pub ipv6: bool,
    pub shim_id: u64,
    pub server: bool,
    pub certificate: Option<PathBuf>,
    pub key: Option<PathBuf>,
    /// Connections after the first, which resume its session.
    pub resume_count: usize,
    pub min_version: u16,
    pub max_version: u16,
    pub no_tls12: bool,
    pub no_tls13: bool,
    pub no_ticket: bool,
    pub host_name: Option<String>,
    /// Groups by their numbers; rustls' own if empty.
    pub groups: Vec<u16>,
    /// As on the wire.
    pub advertise_alpn: Vec<Vec<u8>>,
    pub select_alpn: Option<Vec<u8>>,
    pub require_client_certificate: bool,
    pub verify_peer: bool,
    /// Bytes of the wire are read one at a time, so that all that can pause does.
    pub bytewise: bool,
    pub writes_first: bool,
    pub shuts_down: bool,
    pub check_close_notify: bool,
    pub key_update: bool,
    pub read_size: usize,
    pub max_send_fragment: Option<usize>,
    pub expect_version: Expected<u16>,
    pub expect_alpn: Expected<Vec<u8>>,
    pub expect_group: Expected<u16>,
    pub expect_session_miss: bool,
}

/// What a connection must come to: the first, and those that resume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected<T> {
    pub initial: Option<T>,
    pub resumed: Option<T>,
}

impl<T: Clone> Expected<T> {
    const NOTHING: Self = Self {
        initial: None,
        resumed: None,
    };

    /// What connection `number` must come to.
    pub fn of(&self, number: usize) -> Option<&T> {
        if number == 0 {
            &self.initial
        } else {
            &self.resumed
        }
        .as_ref()
    }

    fn set(&mut self, of: Of, value: T) {
        if of != Of::Resumed {
            self.initial = Some(value.clone());
        }
        if of != Of::Initial {
            self.resumed = Some(value);
        }
    }
}

/// Which connections a flag is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Of {
    All,
    Initial,
    Resumed,
}

/// Flags without a value that ask for what is the case anyway, or for a check of what no flag here changes.
const GRANTED: &[&str] = &[
    "-expect-extended-master-secret",
    "-expect-secure-renegotiation",
    "-expect-no-session-id",
    "-expect-session-id",
    "-permute-extensions",
    "-server-preference",
    "-no-tls1",
    "-no-tls11",
    "-handshake-never-done",
    "-decline-alpn",
    "-implicit-handshake",
    "-expect-no-session",
    "-use-ticket-callback",
    "-use-custom-verify-callback",
    "-expect-no-offer-early-data",
];

impl Flags {
    /// Reads the program's arguments.
    ///
    /// # Errors
    /// Names a flag that is not known, or its value that is not.
    pub fn parse(mut args: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut flags = Self {
            port: 0,
            ipv6: false,
            shim_id: 0,
            server: false,
            certificate: None,
            key: None,
            resume_count: 0,
            min_version: 0x0303,
            max_version: 0x0304,
            no_tls12: false,
            no_tls13: false,
            no_ticket: false,
            host_name: None,
            groups: Vec::new(),
            advertise_alpn: Vec::new(),
            select_alpn: None,
            require_client_certificate: false,
            verify_peer: false,
            bytewise: false,
            writes_first: false,
            shuts_down: false,
            check_close_notify: false,
            key_update: false,
            read_size: 512,
            max_send_fragment: None,
            expect_version: Expected::NOTHING,
            expect_alpn: Expected::NOTHING,
            expect_group: Expected::NOTHING,
            expect_session_miss: false,
        };
        while let Some(flag) = args.next() {
            let (name, of) = scope(&flag);
            flags.take(&flag, &name, of, &mut args)?;
        }
        Ok(flags)
    }

    fn take(
        &mut self,
        flag: &str,
        name: &str,
        of: Of,
        args: &mut impl Iterator<Item = String>,
    ) -> Result<(), String> {
        if GRANTED.contains(&name) {
            return Ok(());
        }
        let mut text = || args.next().ok_or(format!("{flag} without a value"));
        match name {
            "-expect-version" => self.expect_version.set(of, number(flag, &text()?)?),
            "-expect-alpn" => self.expect_alpn.set(of, text()?.into_bytes()),
            "-expect-curve-id" => self.expect_group.set(of, number(flag, &text()?)?),
            // Of all connections, or not served.
            _ if of != Of::All => return Err(flag.to_owned()),
            "-port" => self.port = number(flag, &text()?)?,
            "-ipv6" => self.ipv6 = true,
            "-shim-id" => self.shim_id = number(flag, &text()?)?,
            "-server" => self.server = true,
            "-cert-file" => self.certificate = Some(text()?.into()),
            "-key-file" => self.key = Some(text()?.into()),
            "-resume-count" => self.resume_count = number(flag, &text()?)?,
            "-min-version" => self.min_version = number::<u16>(flag, &text()?)?.max(0x0303),
            "-max-version" => self.max_version = number(flag, &text()?)?,
            "-no-tls12" => self.no_tls12 = true,
            "-no-tls13" => self.no_tls13 = true,
            "-no-ticket" => self.no_ticket = true,
            "-host-name" => self.host_name = Some(text()?),
            "-curves" => self.groups.push(number(flag, &text()?)?),
            "-advertise-alpn" => self.advertise_alpn = protocols(text()?.as_bytes())?,
            "-select-alpn" => self.select_alpn = Some(text()?.into_bytes()),
            "-require-any-client-certificate" => self.require_client_certificate = true,
            "-verify-peer" => self.verify_peer = true,
            "-async" => self.bytewise = true,
            "-shim-writes-first" => self.writes_first = true,
            "-shim-shuts-down" => self.shuts_down = true,
            "-check-close-notify" => self.check_close_notify = true,
            "-key-update" => self.key_update = true,
            "-read-size" => self.read_size = number(flag, &text()?)?,
            "-max-send-fragment" => self.max_send_fragment = Some(number(flag, &text()?)?),
            "-expect-session-miss" => self.expect_session_miss = true,
            _ => return Err(flag.to_owned()),
        }
        Ok(())
    }
}

/// Takes `-on-initial-` and `-on-resume-` from a flag.
fn scope(flag: &str) -> (String, Of) {
    for (prefix, of) in [("-on-initial", Of::Initial), ("-on-resume", Of::Resumed)] {
        if let Some(name) = flag.strip_prefix(prefix) {
            return (name.to_owned(), of);
        }
    }
    (flag.to_owned(), Of::All)
}

fn number<T: std::str::FromStr>(flag: &str, text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("{flag} {text}"))
}

/// Protocols with a byte of length before each.
fn protocols(mut wire: &[u8]) -> Result<Vec<Vec<u8>>, String> {
    let mut protocols = Vec::new();
    while let Some((&len, rest)) = wire.split_first() {
        let (name, rest) = rest
            .split_at_checked(usize::from(len))
            .ok_or("-advertise-alpn that ends early")?;
        protocols.push(name.to_vec());
        wire = rest;
    }
    Ok(protocols)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Flags, String> {
        Flags::parse(text.split(' ').map(str::to_owned))
    }

    #[test]
    fn flags_are_read() {
        let flags = parse("-port 9 -server -advertise-alpn \u{3}foo -on-resume-expect-version 772");
        let flags = flags.unwrap();
        assert_eq!((flags.port, flags.server), (9, true));
        assert_eq!(flags.advertise_alpn, [b"foo"]);
        assert_eq!(flags.expect_version.of(0), None);
        assert_eq!(flags.expect_version.of(1), Some(&772));
    }

    #[test]
    fn what_is_not_known_is_named() {
        assert_eq!(parse("-port 9 -fiddle").unwrap_err(), "-fiddle");
        assert_eq!(parse("-port x").unwrap_err(), "-port x");
        assert_eq!(
            parse("-on-resume-no-ticket").unwrap_err(),
            "-on-resume-no-ticket"
        );
    }
}
