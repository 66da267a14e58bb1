//! `spinlane bench connect`: new connections per second of a server that runs elsewhere.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{
    ClientSessionStore, Resumption, Tls12ClientSessionValue, Tls13ClientSessionValue,
};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, NamedGroup, SignatureScheme};
use serde::Serialize;
use spinlane::cryptodev::QueuePairConfig;
use spinlane::rustls::{Connection, provider};
use spinlane::{Conn, Lcore, device};

use super::handshake::{Group, Suite};
use super::server::groups;
use crate::measure::{on_core, within};
use spinlane_proxy::carrier::{Carrier, Listener};
use spinlane_proxy::packets::PacketArgs;
use spinlane_proxy::sockets::Sockets;
use spinlane_proxy::tls::Progress;

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
/// A connection on which nothing comes for so long has failed.
const PATIENCE: Duration = Duration::from_secs(10);

/// New connections per second to a server: a full (or resumed) handshake, one small request, the answer
/// to its end, again.
///
/// The client polls on a pinned core, with its own key exchange on a device, and checks no certificates:
/// so it is seldom the limit. How much of its time it found nothing to do is told; where that is
/// next to nothing, the server could do more.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The server.
    #[arg(value_name = "HOST:PORT")]
    server: SocketAddr,
    /// Connections in flight.
    #[arg(long, default_value_t = 64, value_name = "N")]
    connections: usize,
    /// Connections that are opened first and stay open, without a word after their handshakes.
    #[arg(long, default_value_t = 0, value_name = "N")]
    idle: usize,
    /// How long.
    #[arg(long, default_value_t = 5.0, value_name = "SECONDS")]
    seconds: f64,
    /// Resume sessions.
    #[arg(long)]
    resume: bool,
    /// The only cipher suite offered [default: all].
    #[arg(long, value_enum)]
    suite: Option<Suite>,
    /// A port in place of the kernel's sockets.
    #[command(flatten)]
    packets: PacketArgs,
    /// The client's crypto device.
    #[arg(long, default_value = "auto", value_name = "SPEC")]
    device: String,
    /// The core to pin to [default: the last one].
    #[arg(long, value_name = "N")]
    core: Option<usize>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Default, Serialize)]
struct Report {
    connections_per_s: f64,
    connections: u64,
    resumed: u64,
    failed: u64,
    /// Share of the client's turns in which nothing moved.
    client_idle_percent: f64,
}

/// Runs the benchmark and prints its report.
///
/// # Errors
/// An argument is at fault, or no connection succeeds.
pub fn run(args: &Args) -> Result<()> {
    let report = measure(args)?;
    if args.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        println!(
            "{:.0} connections/s ({} done, {} resumed, {} failed); client idle {:.0} %",
            report.connections_per_s,
            report.connections,
            report.resumed,
            report.failed,
            report.client_idle_percent
        );
    }
    Ok(())
}

fn measure(args: &Args) -> Result<Report> {
    within("--connections", args.connections, 1..=16_384)?;
    within("--idle", args.idle, 0..=1 << 20)?;
    within("--seconds", args.seconds, 0.01..=3600.0)?;
    let Some(spec) = &args.packets.port else {
        return measure_over(args, || Ok(Sockets::default()));
    };
    measure_on_port(args, spec)
}

#[cfg(feature = "dpdk")]
fn measure_on_port(args: &Args, spec: &str) -> Result<Report> {
    use spinlane_proxy::packets::port;
    let eal = port::start(&args.packets, spec)?;
    // Those that are closing besides.
    let client = port::client(&eal, &args.packets, spec, 4 * args.connections)?;
    let client = Mutex::new(Some(client));
    measure_over(args, move || {
        let open = locked(&client).take().context("one core opens the port")?;
        Ok(open())
    })
}

#[cfg(not(feature = "dpdk"))]
fn measure_on_port(_: &Args, spec: &str) -> Result<Report> {
    bail!("--port {spec}: {}", spinlane_proxy::packets::NO_DPDK)
}

fn measure_over<L: Listener>(
    args: &Args,
    open: impl Fn() -> Result<L> + Send + Sync + 'static,
) -> Result<Report> {
    let (plan, open) = (args.clone(), Arc::new(open));
    on_core(args.core, move |_, lcore| {
        let mut net = open()?;
        let device = device::open(&plan.device).context("--device")?;
        lcore.add_queue_pair(device.queue_pair(QueuePairConfig::default())?);
        let config = Arc::new(config(&plan)?);
        // The first connection is alone, for its tickets.
        let mut first = Load::new(&plan, &config, lcore, &mut net, 1);
        first.until(|report, _| report.connections + report.failed != 0)?;
        ensure!(
            first.report.failed == 0,
            "{}: no connection succeeds",
            plan.server
        );
        let count = plan.connections.min(plan.idle);
        let mut idle = Load::new(&plan, &config, lcore, &mut net, count);
        idle.keeps = true;
        idle.until(|report, _| report.connections + report.failed >= plan.idle as u64)?;
        ensure!(
            idle.report.failed == 0,
            "{}: {} of the connections of --idle failed; raise `ulimit -n`, or --max-connections of the proxy",
            plan.server,
            idle.report.failed
        );
        let _idle = idle.kept;
        let mut load = Load::new(&plan, &config, lcore, &mut net, plan.connections);
        let length = Duration::from_secs_f64(plan.seconds);
        let start = Instant::now();
        load.until(|report, now| now - start >= length && report.connections + report.failed != 0)?;
        let mut report = std::mem::take(&mut load.report);
        report.connections_per_s = report.connections as f64 / start.elapsed().as_secs_f64();
        report.client_idle_percent = load.idle_turns as f64 / load.turns.max(1) as f64 * 100.0;
        ensure!(
            report.connections != 0,
            "{}: no connection succeeds",
            plan.server
        );
        Ok(report)
    })
}

fn config(args: &Args) -> Result<ClientConfig> {
    let mut provider = provider();
    provider.kx_groups = groups(&provider, Group::X25519)?;
    if let Some(wanted) = args.suite {
        let wanted = wanted.into();
        provider
            .cipher_suites
            .retain(|suite| suite.suite() == wanted);
    }
    let schemes = provider
        .signature_verification_algorithms
        .supported_schemes();
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AcceptAny(schemes)))
        .with_no_client_auth();
    config.enable_secret_extraction = true;
    config.resumption = match args.resume {
        true => Resumption::store(Arc::new(Sessions::default())),
        false => Resumption::disabled(),
    };
    Ok(config)
}

/// Connections in flight.
struct Load<'a, L: Listener> {
    args: &'a Args,
    config: &'a Arc<ClientConfig>,
    lcore: &'a Lcore,
    net: &'a mut L,
    clients: Vec<Option<Client<L::Backend>>>,
    /// Connections are kept once their handshakes are done.
    keeps: bool,
    kept: Vec<Client<L::Backend>>,
    report: Report,
    turns: u64,
    idle_turns: u64,
}

/// One connection.
struct Client<C> {
    carrier: C,
    tls: Connection,
    asked: bool,
    answered: bool,
    /// The lcore has called it since it paused.
    due: bool,
    moved: Instant,
}

/// What a turn of a client came to.
enum Turn {
    Moved,
    Quiet,
    Finished,
}

impl<'a, L: Listener> Load<'a, L> {
    fn new(
        args: &'a Args,
        config: &'a Arc<ClientConfig>,
        lcore: &'a Lcore,
        net: &'a mut L,
        count: usize,
    ) -> Self {
        Self {
            args,
            config,
            lcore,
            net,
            clients: std::iter::repeat_with(|| None).take(count).collect(),
            keeps: false,
            kept: Vec::new(),
            report: Report::default(),
            turns: 0,
            idle_turns: 0,
        }
    }

    fn until(&mut self, is_over: impl Fn(&Report, Instant) -> bool) -> Result<()> {
        loop {
            let now = Instant::now();
            if is_over(&self.report, now) {
                return Ok(());
            }
            let now_ns = self.lcore.now_ns();
            let mut moved = self.net.receive(now_ns);
            // All are looked at.
            while self.net.next_news().is_some() {}
            for slot in 0..self.clients.len() {
                moved |= self.turn(slot, now)?;
            }
            self.net.transmit(now_ns);
            if moved {
                self.lcore.note_work();
            }
            let polled = self.lcore.poll()?;
            while let Some(Conn(slot)) = self.lcore.next_ready() {
                if let Some(Some(client)) = self.clients.get_mut(slot as usize) {
                    client.due = true;
                }
            }
            self.turns += 1;
            self.idle_turns += u64::from(!moved && polled.completed == 0);
        }
    }

    /// One client's turn; returns whether anything moved.
    fn turn(&mut self, slot: usize, now: Instant) -> Result<bool> {
        let client = match &mut self.clients[slot] {
            Some(client) => client,
            place => {
                let carrier = self
                    .net
                    .connect(&self.args.server.into())
                    .context("connecting")?;
                place.insert(Client::new(carrier, self.config, self.lcore, slot, now)?)
            }
        };
        let turn = match client.turn(self.keeps) {
            Ok(Turn::Quiet) if now - client.moved > PATIENCE => Err(ErrorKind::TimedOut.into()),
            turn => turn,
        };
        match turn {
            Ok(Turn::Quiet) => return Ok(false),
            Ok(Turn::Moved) => client.moved = now,
            Ok(Turn::Finished) => {
                self.report.connections += 1;
                self.report.resumed += u64::from(client.tls.session_reused());
                let ended = self.clients[slot].take();
                self.kept.extend(ended.filter(|_| self.keeps));
            }
            Err(error) => {
                self.report.failed += 1;
                self.clients[slot] = None;
                if self.report.failed > 100 && self.report.connections == 0 {
                    bail!("{}: {error}", self.args.server);
                }
            }
        }
        Ok(true)
    }
}

impl<C: Carrier> Client<C> {
    fn new(
        carrier: C,
        config: &Arc<ClientConfig>,
        lcore: &Lcore,
        slot: usize,
        now: Instant,
    ) -> Result<Self> {
        let name = ServerName::try_from("localhost")?;
        let mut tls = Connection::client(Arc::clone(config), name);
        tls.attach(lcore, Conn(slot as u64));
        Ok(Self {
            carrier,
            tls,
            asked: false,
            answered: false,
            due: false,
            moved: now,
        })
    }

    /// `keeps`: the handshake is all there is.
    fn turn(&mut self, keeps: bool) -> io::Result<Turn> {
        let Self { carrier, tls, .. } = self;
        // A call before its time would poll the device.
        if tls.is_paused() && !std::mem::take(&mut self.due) {
            return Ok(Turn::Quiet);
        }
        let mut moved = 0;
        let mut ended = false;
        match tls.read_input(|room| carrier.fill(room)) {
            // There is always room here.
            Ok(0) => ended = true,
            Ok(count) => moved += count,
            Err(error) if is_transient(&error) => {}
            Err(error) => return Err(error),
        }
        if !self.asked {
            let before = tls.is_paused();
            match tls.handshake().map_err(io::Error::other)? {
                Progress::Done(_) => {
                    if !keeps {
                        tls.write(REQUEST).map_err(io::Error::other)?;
                    }
                    (self.asked, self.answered) = (true, keeps);
                    moved += 1;
                }
                _ if ended => return Err(ErrorKind::UnexpectedEof.into()),
                _ => moved += usize::from(before != tls.is_paused()),
            }
        }
        if self.asked && !self.answered {
            let mut answer = [0; 2048];
            loop {
                match tls.read(&mut answer).map_err(io::Error::other)? {
                    Progress::Done(count) => moved += count,
                    Progress::Closed => self.answered = true,
                    _ => self.answered = ended,
                }
                if self.answered || moved == 0 || tls.pending() == 0 {
                    break;
                }
            }
        }
        while tls.output_len() != 0 {
            match tls.write_output(|bytes| carrier.drain(bytes)) {
                Ok(count) => moved += count,
                Err(error) if is_transient(&error) => break,
                Err(error) => return Err(error),
            }
        }
        Ok(match (self.answered && tls.output_len() == 0, moved) {
            (true, _) => Turn::Finished,
            (false, 0) => Turn::Quiet,
            (false, _) => Turn::Moved,
        })
    }
}

/// Whether a nonblocking call may be made again; a socket that is not connected yet included.
fn is_transient(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::WouldBlock | ErrorKind::Interrupted | ErrorKind::NotConnected
    )
}

/// Sessions to be resumed, each once, as many as the connections in flight bring: rustls' own store
/// keeps eight of a server.
#[derive(Debug, Default)]
struct Sessions {
    tls12: Mutex<Option<Tls12ClientSessionValue>>,
    tls13: Mutex<Vec<Tls13ClientSessionValue>>,
}

/// Tickets kept at most.
const MAX_TICKETS: usize = 64 * 1024;

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl ClientSessionStore for Sessions {
    fn set_kx_hint(&self, _: ServerName<'static>, _: NamedGroup) {}

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        None
    }

    fn set_tls12_session(&self, _: ServerName<'static>, session: Tls12ClientSessionValue) {
        *locked(&self.tls12) = Some(session);
    }

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        locked(&self.tls12).clone()
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {
        *locked(&self.tls12) = None;
    }

    fn insert_tls13_ticket(&self, _: ServerName<'static>, session: Tls13ClientSessionValue) {
        let mut tickets = locked(&self.tls13);
        if tickets.len() < MAX_TICKETS {
            tickets.push(session);
        }
    }

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        locked(&self.tls13).pop()
    }
}

/// Takes every certificate and every signature for good: whose they are does not matter here.
#[derive(Debug)]
struct AcceptAny(Vec<SignatureScheme>);

impl ServerCertVerifier for AcceptAny {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_is_not_there_is_an_error() {
        // Nobody runs tcpmux, and no client is given its port.
        let server = SocketAddr::from(([127, 0, 0, 1], 1));
        let args = Args {
            server,
            connections: 2,
            idle: 0,
            seconds: 0.1,
            resume: false,
            suite: None,
            device: "soft".to_owned(),
            core: None,
            packets: PacketArgs::default(),
            json: false,
        };
        let text = format!("{:#}", measure(&args).unwrap_err());
        assert!(
            text.contains(&server.to_string()) || text.contains("refused"),
            "{text}"
        );
    }
}
