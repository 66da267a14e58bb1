//! The appliance `spinlane proxy` as a library: terminates TLS on cores that poll.
//!
//! # Invariants
//! - No epoll and no wait fd: sockets are nonblocking and looked at in turns; a stack of our own tells of news.
//! - A connection lives and dies on one core; cores share no lock.
//! - Every buffer, queue and loop is bounded. What does not fit waits in the kernel.

#![forbid(unsafe_code)]

mod address;
mod args;
mod backend;
mod buffer;
pub mod carrier;
mod client;
mod connection;
mod context;
pub mod cores;
mod counters;
mod env;
mod failure;
mod metrics;
mod offload;
pub mod packets;
mod relay;
mod reload;
mod report;
mod respond;
mod signals;
pub mod sockets;
pub mod tls;
mod tokens;
mod unfinished;
mod worker;

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::prctl;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use spinlane::Lcore;
use spinlane::cryptodev::{Capabilities, Device, HealthConfig, QueuePairConfig};
use spinlane::lcore::{Config, Launched};

use crate::tls::Library;
pub use args::Args;
use args::{Backend, Limits};
use carrier::Listener;
use context::{Context as TlsContext, Lasting};
use counters::Counters;
use metrics::Metrics;
use packets::Via;
use reload::Current;
use report::Report;
use signals::{Hangup, Stop};
use worker::{Event, Site, Worker};

/// Where it listens by default.
const DEFAULT_ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8443);
/// How often the main thread looks for signals, and thus how long SIGHUP may take.
const LOOK_FOR_SIGNALS: Duration = Duration::from_millis(100);
/// All cores are ready within this time.
const START: Duration = Duration::from_secs(30);

/// Makes a core's listener, on that core.
pub type Open<L> = Box<dyn FnOnce() -> L + Send>;

/// Where connections come from, before there are cores.
pub struct Network<L> {
    /// Where clients find it.
    pub address: SocketAddr,
    /// Lines for the banner.
    pub about: String,
    /// One per core, in their order.
    pub open: Vec<Open<L>>,
    /// Called now and then by the main thread.
    pub watch: Box<dyn FnMut()>,
}

/// What cores start from.
struct Start<L> {
    site: Site,
    device: Arc<dyn Device>,
    record_device: Option<Arc<dyn Device>>,
    /// One per core, in their order.
    listeners: Mutex<Vec<(usize, Open<L>)>>,
    /// Jobs of each core at most.
    max_jobs: usize,
    /// That of the devices' ops, if the driver is not to say.
    op_deadline: Option<Duration>,
}

impl<L> Start<L> {
    /// `health`, but with the deadline of the arguments, if they have one.
    fn deadline_of(&self, mut health: HealthConfig) -> HealthConfig {
        if let Some(deadline) = self.op_deadline {
            health.op_deadline_ns = u64::try_from(deadline.as_nanos()).unwrap_or(u64::MAX);
        }
        health
    }
}

/// Runs the proxy until a signal.
///
/// # Errors
/// An argument is at fault, or a core cannot start; the text names which.
pub fn run(args: &Args) -> Result<()> {
    match &args.packets.port {
        None => {
            let address = args.listen_address()?.unwrap_or(DEFAULT_ADDRESS);
            run_over(args, |cores, _| sockets::network(address, cores))
        }
        Some(spec) => run_on_port(args, spec),
    }
}

#[cfg(feature = "dpdk")]
fn run_on_port(args: &Args, spec: &str) -> Result<()> {
    use packets::port;
    let address = args.listen_address()?;
    // Before a crypto device of DPDK's starts EAL in its own way.
    let eal = port::start(&args.packets, spec)?;
    run_over(args, |cores, limits| {
        let flows = limits.max_connections * limits.carriers();
        port::open(
            &eal,
            &args.packets,
            spec,
            address,
            args.backend_via,
            (cores, flows),
        )
    })
}

#[cfg(not(feature = "dpdk"))]
fn run_on_port(_: &Args, spec: &str) -> Result<()> {
    anyhow::bail!("--port {spec}: {}", packets::NO_DPDK)
}

/// Runs over the network that `open` opens for so many cores.
fn run_over<L: Listener + 'static>(
    args: &Args,
    open: impl FnOnce(usize, &Limits) -> Result<Network<L>>,
) -> Result<()> {
    if !args.core_dumps {
        // Before a key is read (PR_SET_DUMPABLE of prctl(2)).
        prctl::set_dumpable(false).context("cannot keep this process out of core dumps")?;
    }
    let limits = args.limits()?;
    let cores = args.core_list()?;
    let metrics = args.metrics_address()?.map(Metrics::bind).transpose()?;
    let device = open_device("--device", &args.device, &cores)?;
    let record_device = record_device(args, &device, &cores)?;
    let lasting = Arc::new(Lasting::new(args)?);
    let context = TlsContext::new(args, &lasting)?;
    let mut network = open(cores.len(), &limits)?;
    raise_file_limit(args, &limits, cores.len());
    let max_jobs = max_jobs(&limits, cores.len());
    let backend = limits.backend.clone();
    let (stop, hangup) = (Stop::on_signals()?, Hangup::on_signal()?);

    let scrape = metrics.as_ref().map(|metrics| metrics.address);
    let banner = banner(
        args,
        &context,
        (&*device, record_device.as_deref()),
        &cores,
        &network,
        &limits.backend,
        scrape,
    );
    let capabilities = device.capabilities();
    let current = Current::new(context);
    let start = Arc::new(Start {
        site: Site {
            context: current.clone(),
            stop: stop.clone(),
            limits,
            metrics: metrics.as_ref().map(Metrics::probe),
            lasting: Arc::clone(&lasting),
        },
        device,
        record_device,
        listeners: Mutex::new(cores.iter().copied().zip(network.open).collect()),
        max_jobs,
        op_deadline: args.op_deadline,
    });
    let (sender, events) = mpsc::channel();
    let body = move |core, lcore: &Lcore| serve(core, lcore, &start, &sender);
    let launched = spinlane::launch(&cores, Config::default(), body).context("--cores")?;
    if await_ready(&events, cores.len()) {
        if let Some(metrics) = metrics {
            metrics.serve(cores)?;
        }
        say(&format!("{banner}\n"));
    } else {
        stop.ask();
    }
    loop {
        match events.recv_timeout(LOOK_FOR_SIGNALS) {
            Ok(Event::Report(report)) => say(&report.to_string()),
            Ok(Event::Ready) | Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        if hangup.take() {
            if let Backend::Relay(directory) = &backend {
                directory.refresh();
            }
            reload(args, &lasting, &current, capabilities);
        }
        lasting.mind_the_time();
        (network.watch)();
    }
    finish(launched)
}

/// Opens the device of the option called `option`.
fn open_device(option: &str, spec: &str, cores: &[usize]) -> Result<Arc<dyn Device>> {
    let device = spinlane::device::open(spec).with_context(|| format!("{option} {spec}"))?;
    for core in device.cores().iter().filter(|core| cores.contains(core)) {
        tracing::warn!(
            "core {core} is one of --cores and a crypto core of {option}: each slows the other down; \
             give them a core each"
        );
    }
    Ok(device.into())
}

/// The device that seals records, which may be `device` itself.
fn record_device(
    args: &Args,
    device: &Arc<dyn Device>,
    cores: &[usize],
) -> Result<Option<Arc<dyn Device>>> {
    let Some(spec) = &args.record_device else {
        return Ok(None);
    };
    ensure!(
        args.tls == Library::Rustls,
        "--record-device {spec}: libssl seals its records itself; use --tls rustls"
    );
    let of_records = match *spec == args.device {
        true => Arc::clone(device),
        false => open_device("--record-device", spec, cores)?,
    };
    ensure!(
        !of_records.record_capabilities().is_empty(),
        "--record-device {spec}: it seals no records; `spinlane devices` lists those that do, under AEAD"
    );
    Ok(Some(of_records))
}

/// One core, from its start to its end.
fn serve<L: Listener>(
    core: usize,
    lcore: &Lcore,
    start: &Start<L>,
    events: &Sender<Event>,
) -> Result<Report> {
    /// A core that leaves, for whichever reason, takes the others along.
    struct Leave<'a>(&'a Stop);
    impl Drop for Leave<'_> {
        fn drop(&mut self) {
            self.0.ask();
        }
    }
    let _leave = Leave(&start.site.stop);
    let mut listeners = start
        .listeners
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    let position = listeners.iter().position(|(of, _)| *of == core);
    let (_, open) = position
        .map(|at| listeners.swap_remove(at))
        .context("a core started twice")?;
    drop(listeners);
    let queue_pair = start.device.queue_pair(QueuePairConfig::default());
    let queue_pair = queue_pair.with_context(|| format!("opening a queue pair on core {core}"))?;
    let health = queue_pair.health();
    lcore.add_queue_pair_with(queue_pair, start.deadline_of(health));
    if let Some(device) = &start.record_device {
        let queue_pair = device.record_queue_pair(QueuePairConfig::default());
        let queue_pair = queue_pair
            .with_context(|| format!("opening a queue pair for records on core {core}"))?;
        let health = queue_pair.health();
        lcore.add_record_queue_pair_with(queue_pair, start.deadline_of(health));
    }
    spinlane::job::init_thread(start.max_jobs, 0).context("jobs")?;
    let mut worker = Worker::new(core, lcore, &start.site, events, open());
    worker.open_tokens()?;
    // The receiver lives until all cores have left.
    let _ = events.send(Event::Ready);
    Ok(worker.run())
}

/// Returns whether all `cores` became ready.
fn await_ready(events: &Receiver<Event>, cores: usize) -> bool {
    let mut ready = 0;
    while ready < cores {
        match events.recv_timeout(START) {
            Ok(Event::Ready) => ready += 1,
            Ok(Event::Report(_)) => {}
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return false,
        }
    }
    true
}

/// Prints the last counters.
fn finish(launched: Launched<Result<Report>>) -> Result<()> {
    let mut sum = Counters::default();
    for report in launched.join()? {
        let report = report?;
        say(&report.to_string());
        sum += &report.counters;
    }
    say(&format!("all cores, final\n{sum}"));
    Ok(())
}

/// Prints. That nobody may be reading any more is no reason to stop serving.
fn say(text: &str) {
    let mut stdout = std::io::stdout().lock();
    // In one piece, so that a reader finds whole tables.
    let _ = stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush());
}

/// Reads certificates and keys again. If they are unusable, what there is stays.
fn reload(args: &Args, lasting: &Lasting, current: &Current, device: Capabilities) {
    lasting.tokens().retry_pins();
    match TlsContext::new(args, lasting) {
        Ok(context) => {
            let keys = offload::signers(context.keys(), device).join("; ");
            let on_tokens = context
                .keys()
                .iter()
                .filter_map(|key| key.on_token.as_deref());
            lasting.tokens().rest_except(on_tokens);
            current.replace(context);
            tracing::info!("certificates and keys were read again; private key {keys}");
        }
        Err(error) => tracing::error!("nothing is changed by SIGHUP: {error:#}"),
    }
}

/// File descriptors for as many connections as there may be, if the system allows them.
fn raise_file_limit(args: &Args, limits: &Limits, cores: usize) {
    let per_connection = match (&args.packets.port, args.backend_via) {
        (None, _) => limits.carriers(),
        (Some(_), Via::Kernel) => limits.carriers() - 1,
        (Some(_), Via::Port) => 0,
    };
    if per_connection == 0 {
        return;
    }
    let wanted = (limits.max_connections * cores * per_connection + 64) as u64;
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else {
        return;
    };
    let raised = wanted.min(hard);
    if raised > soft && setrlimit(Resource::RLIMIT_NOFILE, raised, hard).is_err() {
        tracing::warn!("the limit on file descriptors stays at {soft}");
    }
    if raised < wanted {
        tracing::info!(
            "file descriptors are limited to {hard}: about {} connections at once; `ulimit -Hn` raises it",
            hard / per_connection as u64
        );
    }
}

/// Jobs that a core may have: one for each connection, since each may be in its handshake, as far as the
/// system has memory mappings for their stacks. Without one a handshake waits until another has ended.
fn max_jobs(limits: &Limits, cores: usize) -> usize {
    let wanted = limits.max_connections;
    let most = (spinlane::job::most_stacks() / cores).max(1);
    if most < wanted {
        tracing::warn!(
            "vm.max_map_count has room for the stacks of {most} handshakes per core at once, which is less than \
             --max-connections {wanted}: further ones wait until others have ended; \
             `sysctl vm.max_map_count={}` lets all go on, --max-connections {most} admits fewer",
            spinlane::job::max_map_count_for(wanted * cores)
        );
    }
    wanted.min(most)
}

/// What is said when all cores are ready.
fn banner(
    args: &Args,
    context: &TlsContext,
    (device, record_device): (&dyn Device, Option<&dyn Device>),
    cores: &[usize],
    network: &Network<impl Listener>,
    backend: &Backend,
    scrape: Option<SocketAddr>,
) -> String {
    let cores: Vec<String> = cores.iter().map(usize::to_string).collect();
    let capabilities = device.capabilities();
    let key = offload::signers(context.keys(), capabilities).join("\n               ");
    let exchange = offload::key_exchanges(args.tls, capabilities);
    let device = device.name();
    let Network { address, about, .. } = network;
    let records = record_device.map_or_else(String::new, |device| {
        let algorithms = device.record_capabilities();
        let algorithms = algorithms.iter().map(|algorithm| algorithm.name());
        let algorithms = algorithms.collect::<Vec<_>>().join(", ");
        format!("  records      sealed by {}: {algorithms}\n", device.name())
    });
    let certificate = match args.cert.as_slice() {
        [] => "throw-away, self-signed".to_owned(),
        paths => {
            let paths = paths.iter().map(|path| path.display().to_string());
            paths.collect::<Vec<_>>().join(", ")
        }
    };
    let library = match args.tls {
        Library::Rustls => "rustls",
        Library::Openssl => "libssl",
    };
    let client = if args.client_ca.is_some() {
        "--cert CLIENT.PEM --key CLIENT.KEY "
    } else {
        ""
    };
    let metrics = scrape.map_or_else(String::new, |address| {
        format!("  metrics      http://{}/metrics\n", reachable(address))
    });
    format!(
        "spinlane proxy listens on {address}\n{about}  tls          {library}\n  device       {device}\n  cores        {}\n  certificate  {certificate}\n  \
         private key  {key}\n  key exchange {exchange}\n{records}  backend      {backend}\n{metrics}  try          curl -k {client}https://{}/",
        cores.join(","),
        reachable(*address),
    )
}

/// Where a client on this machine finds it.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        ip if !ip.is_unspecified() => ip,
        IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    };
    SocketAddr::new(ip, address.port())
}
