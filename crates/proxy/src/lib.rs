//! The appliance `spinlane proxy` as a library: terminates TLS on cores that poll.
//!
//! # Invariants
//! - No completion comes by a file descriptor. Sockets are nonblocking and looked at in turns; which of the idle ones have news
//!   is asked of epoll(7), never waited for; a stack of our own tells of news.
//! - A connection lives and dies on one core; cores share no lock.
//! - Every buffer, queue and loop is bounded. What does not fit waits in the kernel.

#![forbid(unsafe_code)]

mod address;
mod backend;
mod buffer;
pub mod carrier;
mod client;
pub mod config;
mod connection;
mod context;
pub mod cores;
mod counters;
mod doors;
mod env;
mod failure;
mod header;
mod manager;
mod metrics;
mod offload;
pub mod packets;
mod pool;
mod relay;
mod reload;
mod report;
mod respond;
mod signals;
pub mod sockets;
pub mod tls;
mod tokens;
mod unfinished;
mod watch;
mod worker;

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::prctl;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use spinlane::Lcore;
use spinlane::cryptodev::{Capabilities, Device, HealthConfig, QueuePairConfig};
use spinlane::lcore::{Config, Launched};

use crate::tls::Library;
pub use address::Address;
use carrier::Listener;
pub use config::Args;
use config::{Config as Settings, Limits};
use context::Lasting;
use counters::Counters;
use doors::{Door, Running};
use manager::{Manager, Pulse};
use metrics::Metrics;
use offload::ServedKey;
use packets::Via;
use reload::{Current, Outcome};
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
    /// One per core, with the core's place in their order.
    listeners: Mutex<Vec<(usize, usize, Open<L>)>>,
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
/// A value is at fault, or a core cannot start; the text names which.
pub fn run(args: &Args) -> Result<()> {
    let settings = args.config()?;
    match &settings.packets.port {
        None => run_over(args, &settings, |cores, _| Ok(sockets::network(cores))),
        Some(spec) => run_on_port(args, &settings, spec),
    }
}

/// Reads a configuration file and all that it names, and says what came of it.
///
/// # Errors
/// Something is at fault; the text has line, column, culprit and remedy.
pub fn check(path: &Path) -> Result<()> {
    let settings = Settings::read(path)?;
    keep_secrets(&settings)?;
    settings.metrics_address()?;
    let lasting = Lasting::new(&settings)?;
    for listener in &settings.listener {
        listener.listen_address()?;
    }
    let running = Running::new(&settings, &lasting, 0, None)?;
    let (listeners, backends) = (running.doors.len(), settings.backend.len());
    say(&format!(
        "{}: good, with {listeners} listener(s) and {backends} named backend(s)\n",
        path.display()
    ));
    Ok(())
}

#[cfg(feature = "dpdk")]
fn run_on_port(args: &Args, settings: &Settings, spec: &str) -> Result<()> {
    use packets::port;
    let first = settings.listener.first().context("there is no listener")?;
    let address = first.listen_address()?;
    // Before a crypto device of DPDK's starts EAL in its own way.
    let eal = port::start(&settings.packets, spec)?;
    run_over(args, settings, |cores, limits| {
        let flows = limits.max_connections * settings.carriers();
        port::open(
            &eal,
            &settings.packets,
            spec,
            address,
            settings.backend_via,
            (cores, flows),
        )
    })
}

#[cfg(not(feature = "dpdk"))]
fn run_on_port(_: &Args, _: &Settings, spec: &str) -> Result<()> {
    anyhow::bail!("--port {spec}: {}", packets::NO_DPDK)
}

/// Keeps this process out of core dumps, before a key is read (PR_SET_DUMPABLE of prctl(2)).
fn keep_secrets(settings: &Settings) -> Result<()> {
    match settings.core_dumps {
        true => Ok(()),
        false => prctl::set_dumpable(false).context("cannot keep this process out of core dumps"),
    }
}

/// Runs over the network that `open` opens for so many cores.
fn run_over<L: Listener + 'static>(
    args: &Args,
    settings: &Settings,
    open: impl FnOnce(usize, &Limits) -> Result<Network<L>>,
) -> Result<()> {
    keep_secrets(settings)?;
    let cores = settings.core_list()?;
    let outcome = Arc::new(Outcome::default());
    let metrics = settings.metrics_address()?;
    let metrics = metrics
        .map(|address| Metrics::bind(address, &outcome))
        .transpose()?;
    let device = open_device("device", settings, &settings.device, &cores)?;
    let record_device = record_device(settings, &device, &cores)?;
    let lasting = Arc::new(Lasting::new(settings)?);
    let listening = if settings.packets.port.is_some() {
        0
    } else {
        cores.len()
    };
    let mut running = Running::new(settings, &lasting, listening, None)?;
    let mut network = open(cores.len(), &running.limits)?;
    if let (Some(_), Some(door)) = (&settings.packets.port, running.doors.first_mut()) {
        door.address = network.address;
    }
    raise_file_limit(settings, cores.len());
    let max_jobs = max_jobs(&running.limits, cores.len());
    let (asked, hangup) = (Stop::on_signals()?, Hangup::on_signal()?);
    // Without a delay the cores see the signal themselves.
    let delay = settings.close_delay.map(|delay| delay.0);
    let stop = delay.map_or_else(|| asked.clone(), |_| Stop::default());
    let pulse = Pulse::new(cores.len());
    let mut manager = Manager::of_environment(pulse.clone());

    let scrape = metrics.as_ref().map(|metrics| metrics.address);
    let banner = banner(
        settings,
        &running,
        (&*device, record_device.as_deref()),
        &cores,
        &network.about,
        scrape,
    );
    let capabilities = device.capabilities();
    outcome.note_certificates(&running);
    let current = Current::new(running);
    let opened = cores.iter().copied().zip(0..).zip(network.open);
    let start = Arc::new(Start {
        site: Site {
            current: current.clone(),
            stop: stop.clone(),
            pulse,
            metrics: metrics.as_ref().map(Metrics::probe),
            lasting: Arc::clone(&lasting),
        },
        device,
        record_device,
        listeners: Mutex::new(opened.map(|((core, at), open)| (core, at, open)).collect()),
        max_jobs,
        op_deadline: settings.op_deadline.map(|deadline| deadline.0),
    });
    let (sender, events) = mpsc::channel();
    let body = move |core, lcore: &Lcore| serve(core, lcore, &start, &sender);
    let launched = spinlane::launch(&cores, Config::default(), body).context("--cores")?;
    if await_ready(&events, cores.len()) {
        if let Some(metrics) = metrics {
            metrics.serve(cores)?;
        }
        say(&format!("{banner}\n"));
        outcome.set_ready(true);
        manager.ready();
    } else {
        stop.ask();
    }
    let mut asked_at = None;
    loop {
        match events.recv_timeout(LOOK_FOR_SIGNALS) {
            Ok(Event::Report(report)) => say(&report.to_string()),
            Ok(Event::Ready) | Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        // Who parts takes no new listeners.
        if hangup.take() && asked_at.is_none() {
            manager.reloading();
            let renewed = reload(
                args,
                settings,
                (&lasting, listening),
                &current,
                capabilities,
            );
            outcome.note(renewed.is_ok());
            outcome.note_certificates(&current.latest().1);
            if let Err(error) = renewed {
                tracing::error!("nothing is changed by SIGHUP: {error:#}");
            }
            manager.ready();
        }
        // A core that fails has all of them stop.
        if asked.asked() || stop.asked() {
            let since: Instant = *asked_at.get_or_insert_with(|| {
                outcome.set_ready(false);
                manager.stopping();
                Instant::now()
            });
            if delay.is_some_and(|delay| since.elapsed() >= delay) {
                stop.ask();
            }
        }
        manager.mind_the_time();
        lasting.mind_the_time();
        (network.watch)();
    }
    finish(launched)
}

/// Opens the device that `key` names.
fn open_device(
    key: &str,
    settings: &Settings,
    spec: &str,
    cores: &[usize],
) -> Result<Arc<dyn Device>> {
    let device = spinlane::device::open(spec);
    let device = device.with_context(|| settings.origin.name(key, spec))?;
    let option = settings.origin.place(key);
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
    settings: &Settings,
    device: &Arc<dyn Device>,
    cores: &[usize],
) -> Result<Option<Arc<dyn Device>>> {
    let Some(spec) = &settings.record_device else {
        return Ok(None);
    };
    let name = settings.origin.name("record_device", spec);
    let libraries = settings.listener.iter().map(|listener| listener.tls);
    ensure!(
        libraries
            .into_iter()
            .any(|library| library == Library::Rustls),
        "{name}: libssl seals its records itself; use --tls rustls"
    );
    let of_records = match *spec == settings.device {
        true => Arc::clone(device),
        false => open_device("record_device", settings, spec, cores)?,
    };
    ensure!(
        !of_records.record_capabilities().is_empty(),
        "{name}: it seals no records; `spinlane devices` lists those that do, under AEAD"
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
    let found = listeners.iter().position(|(of, ..)| *of == core);
    let (_, position, open) = found
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
    let worker = Worker::new((core, position), lcore, &start.site, events, open());
    let mut worker = worker.context("epoll")?;
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

/// Reads the configuration again, and the files that it names. Where anything is unusable, all that there is stays.
///
/// # Errors
/// What that is.
fn reload(
    args: &Args,
    started_with: &Settings,
    (lasting, listening): (&Lasting, usize),
    current: &Current,
    device: Capabilities,
) -> Result<()> {
    lasting.tokens().retry_pins();
    let settings = args.config()?;
    if let Some(key) = started_with.differs_for_good(&settings) {
        anyhow::bail!(
            "{}: {key} cannot change while the program runs; set it back, or start the program again",
            settings.origin.place(key)
        );
    }
    if settings.packets.port.is_some() {
        check_port(started_with, &settings)?;
    } else {
        raise_file_limit(&settings, listening);
    }
    let (_, before) = current.latest();
    let running = Running::new(&settings, lasting, listening, Some(&before))?;
    running.refresh();
    let served = all_keys(&running);
    let keys = offload::signers(&served, device).join("; ");
    let on_tokens = served.iter().filter_map(|key| key.on_token.as_deref());
    lasting.tokens().rest_except(on_tokens);
    current.replace(running);
    tracing::info!("certificates and keys were read again; private key {keys}");
    Ok(())
}

/// What a port was opened for stays.
///
/// # Errors
/// `settings` want another address, or more connections.
fn check_port(started_with: &Settings, settings: &Settings) -> Result<()> {
    for (old, new) in started_with.listener.iter().zip(&settings.listener) {
        ensure!(
            old.listen == new.listen,
            "{}: listen cannot change while a port serves; set it back, or start the program again",
            new.origin.place("listen")
        );
        ensure!(
            settings.carriers() <= started_with.carriers(),
            "{}: the port was opened for a program without backends; set it back, or start the program again",
            new.origin.place("backend")
        );
    }
    Ok(())
}

/// The private keys of all listeners.
fn all_keys(running: &Running) -> Vec<ServedKey> {
    let keys = running.doors.iter().flat_map(|door| door.context.keys());
    keys.cloned().collect()
}

/// File descriptors for as many connections as there may be, if the system allows them.
fn raise_file_limit(settings: &Settings, cores: usize) {
    let carriers = settings.carriers();
    let per_connection = match (&settings.packets.port, settings.backend_via) {
        (None, _) => carriers,
        (Some(_), Via::Kernel) => carriers - 1,
        (Some(_), Via::Port) => 0,
    };
    if per_connection == 0 {
        return;
    }
    let connections = settings.max_connections.get() * cores * per_connection;
    let wanted = (connections + settings.listener.len() * cores + 64) as u64;
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
    settings: &Settings,
    running: &Running,
    (device, record_device): (&dyn Device, Option<&dyn Device>),
    cores: &[usize],
    about: &str,
    scrape: Option<SocketAddr>,
) -> String {
    let cores: Vec<String> = cores.iter().map(usize::to_string).collect();
    let capabilities = device.capabilities();
    let records = record_device.map_or_else(String::new, |device| {
        let algorithms = device.record_capabilities();
        let algorithms = algorithms.iter().map(|algorithm| algorithm.name());
        let algorithms = algorithms.collect::<Vec<_>>().join(", ");
        format!("  records      sealed by {}: {algorithms}\n", device.name())
    });
    let metrics = scrape.map_or_else(String::new, |address| {
        format!("  metrics      http://{}/metrics\n", reachable(address))
    });
    let doors = running.doors.iter().zip(&settings.listener);
    let doors: String = doors
        .map(|(door, listener)| about_door(door, listener, capabilities))
        .collect();
    let client = match settings.listener.first() {
        Some(first) if first.client_auth() == config::ClientAuth::Required => {
            "--cert CLIENT.PEM --key CLIENT.KEY "
        }
        _ => "",
    };
    let addresses: Vec<String> = running
        .doors
        .iter()
        .map(|door| door.address.to_string())
        .collect();
    let first = running
        .doors
        .first()
        .map_or(DEFAULT_ADDRESS, |door| door.address);
    format!(
        "spinlane proxy listens on {}\n{about}  device       {}\n  cores        {}\n{doors}{records}{metrics}  \
         try          curl -k {client}https://{}/",
        addresses.join(", "),
        device.name(),
        cores.join(","),
        reachable(first),
    )
}

/// The part that is a listener's own.
fn about_door(door: &Door, listener: &config::Listener, device: Capabilities) -> String {
    let key = offload::signers(door.context.keys(), device).join("\n               ");
    let exchange = offload::key_exchanges(listener.tls, device);
    let mut certificates: Vec<String> = listener
        .cert
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    certificates.extend(
        listener
            .cert_dir
            .iter()
            .map(|dir| format!("those in {}", dir.display())),
    );
    if certificates.is_empty() {
        certificates.push("throw-away, self-signed".to_owned());
    }
    let library = match listener.tls {
        Library::Rustls => "rustls",
        Library::Openssl => "libssl",
    };
    format!(
        "  listener     {}\n  tls          {library}\n  certificate  {}\n  private key  {key}\n  key exchange {exchange}\n  \
         backend      {}\n",
        door.address,
        certificates.join(", "),
        door.backends(),
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
