//! An HTTPS server that is a DPDK application: it has a main of its own, initialises EAL itself, and configures its port and its
//! crypto device as it always has. Each of its lcores gives Spinlane one queue pair of both, and polls Spinlane in its loop.
//!
//! ```text
//!   rx burst ─▶ TCP (Stack) ─▶ TLS, signs and pauses ─▶ lcore.poll() ─▶ resumed, answers ─▶ TCP ─▶ tx burst
//! ```
//! The device is crypto_openssl, and the port net_af_packet, so that it runs without a card, on an interface of the kernel's:
//! `cargo run -p spinlane --features dpdk --example pipeline -- IFACE 10.0.0.2/24 CERT KEY`. Ends when its standard input does.

use std::collections::HashMap;
use std::ffi::{CString, c_char, c_int, c_uint, c_void};
use std::io;
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant as Clock;

use dpdk_sys as sys;
use spinlane::dpdk::{Eal, HandedOver, QueuePair};
use spinlane::drivers::dpdk::{DpdkDevice, HandedOver as HandedOverDevice};
use spinlane::net::{self, FlowId, Instant, Interface, ListenerId, Mac};
use spinlane::rustls::{Connection, server_config};
use spinlane::{Config, Conn, Lcore, Progress};

/// One queue of the port and one queue pair of the device for each.
const LCORES: u16 = 2;
const PORT: u16 = 0;
const DEVICE: u8 = 0;
const DESCRIPTORS: u32 = 64;

type Failure = Box<dyn std::error::Error>;
type Stack = net::Stack<QueuePair>;

/// What the command line says, and the lcores share.
struct Options {
    interface: Interface,
    tls: Arc<spinlane::rustls::rustls::ServerConfig>,
    secret: [u8; 48],
}

static OPTIONS: OnceLock<Options> = OnceLock::new();
static STOP: AtomicBool = AtomicBool::new(false);

fn main() -> Result<(), Failure> {
    let args: Vec<String> = std::env::args().collect();
    let [_, iface, address, cert, key] = &args[..] else {
        return Err("usage: pipeline IFACE ADDRESS/PREFIX CERT KEY".into());
    };
    let (address, prefix) = address.split_once('/').ok_or("no prefix")?;
    let mut secret = [0; 48];
    io::Read::read_exact(&mut std::fs::File::open("/dev/urandom")?, &mut secret)?;
    let options = Options {
        interface: Interface {
            address: address.parse()?,
            prefix: prefix.parse()?,
        },
        tls: Arc::new(server_config(&std::fs::read(cert)?, &std::fs::read(key)?)?),
        secret,
    };
    let _ = OPTIONS.set(options);
    init_eal(iface);
    set_up_port();
    set_up_device();
    std::thread::spawn(|| {
        let _ = io::copy(&mut io::stdin(), &mut io::sink());
        STOP.store(true, Ordering::Relaxed);
    });
    println!("serving on {address}:443");
    // SAFETY: `run` is what EAL calls on every lcore, this one included; it looks at no argument.
    let failed = unsafe {
        sys::rte_eal_mp_remote_launch(Some(run), ptr::null_mut(), sys::CALL_MAIN);
        let mut failed = 0;
        let mut lcore = sys::rte_get_next_lcore(c_uint::MAX, 1, 0);
        while lcore < sys::RTE_MAX_LCORE {
            failed |= sys::rte_eal_wait_lcore(lcore);
            lcore = sys::rte_get_next_lcore(lcore, 1, 0);
        }
        failed
    };
    // SAFETY: no lcore uses the device or the port any more. Stop, close, and EAL last.
    unsafe {
        sys::rte_cryptodev_stop(DEVICE);
        sys::rte_cryptodev_close(DEVICE);
        sys::rte_eth_dev_stop(PORT);
        sys::rte_eth_dev_close(PORT);
        sys::rte_eal_cleanup();
    }
    std::process::exit(c_int::from(failed != 0));
}

/// Two lcores that share whatever cores there are; a real pipeline gives each its own.
fn init_eal(iface: &str) {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let cores: Vec<_> = (0..cores).map(|core| core.to_string()).collect();
    let cores = cores.join(",");
    let prefix = format!("--file-prefix=pipeline_{}", std::process::id());
    let lcores = format!("--lcores=0@({cores}),1@({cores})");
    let port = format!("--vdev=net_af_packet0,iface={iface},qpairs={LCORES}");
    let args = [
        "pipeline",
        "--no-huge",
        "-m256",
        "--no-shconf",
        "--no-pci",
        "--no-telemetry",
        "--iova-mode=va",
        "--vdev=crypto_openssl",
    ];
    let more = [prefix.as_str(), lcores.as_str(), port.as_str()];
    let mut args: Vec<*mut c_char> = args
        .into_iter()
        .chain(more)
        .map(|arg| CString::new(arg).expect("no zero byte").into_raw())
        .collect();
    // SAFETY: strings that end with a zero, as many as said, which EAL may keep: they are never freed.
    let done = unsafe { sys::rte_eal_init(args.len() as c_int, args.as_mut_ptr()) };
    assert!(done >= 0, "rte_eal_init");
}

/// Where the packets of the port are.
static POOL: OnceLock<usize> = OnceLock::new();

fn set_up_port() {
    let config = sys::rte_eth_conf::default();
    // SAFETY: the port exists (--vdev=net_af_packet0); the pool and the configuration are valid.
    unsafe {
        let pool = sys::rte_pktmbuf_pool_create(c"packets".as_ptr(), 8191, 0, 0, 2176, 0);
        assert!(!pool.is_null(), "rte_pktmbuf_pool_create");
        let _ = POOL.set(pool as usize);
        assert_eq!(sys::rte_eth_dev_configure(PORT, LCORES, LCORES, &config), 0);
        for queue in 0..LCORES {
            let (rx, tx) = (ptr::null(), ptr::null());
            let received = sys::rte_eth_rx_queue_setup(PORT, queue, 512, 0, rx, pool);
            let sent = sys::rte_eth_tx_queue_setup(PORT, queue, 512, 0, tx);
            assert_eq!((received, sent), (0, 0));
        }
        assert_eq!(sys::rte_eth_dev_start(PORT), 0);
    }
}

fn set_up_device() {
    let mut config = sys::rte_cryptodev_config {
        nb_queue_pairs: LCORES,
        ..Default::default()
    };
    let queue_pair = sys::rte_cryptodev_qp_conf::of(DESCRIPTORS);
    // SAFETY: the device exists (--vdev=crypto_openssl); the configurations are valid.
    unsafe {
        assert_eq!(sys::rte_cryptodev_configure(DEVICE, &mut config), 0);
        for index in 0..LCORES {
            let done = sys::rte_cryptodev_queue_pair_setup(DEVICE, index, &queue_pair, 0);
            assert_eq!(done, 0);
        }
        assert_eq!(sys::rte_cryptodev_start(DEVICE), 0);
    }
}

/// What EAL runs on each lcore.
extern "C" fn run(_argument: *mut c_void) -> c_int {
    // SAFETY: reads a thread-local number.
    let queue = unsafe { sys::shim_lcore_id() } as u16;
    // No panic crosses into C.
    let served = std::panic::catch_unwind(|| pipeline(queue).map_err(|error| error.to_string()));
    match served {
        Ok(Ok((served, signed))) => {
            println!("lcore {queue}: {served} served, {signed} signed by the device");
            0
        }
        Ok(Err(error)) => {
            eprintln!("lcore {queue}: {error}");
            1
        }
        Err(_) => 1,
    }
}

/// The loop of one lcore; returns how many clients it has served, and how many ops the device has done.
fn pipeline(queue: u16) -> Result<(u64, u64), Failure> {
    let (Some(options), Some(&pool)) = (OPTIONS.get(), POOL.get()) else {
        return Err("no options".into());
    };
    let eal = Eal::adopt()?;
    // SAFETY: set up with so many descriptors, given to this lcore alone, and stopped after it ends.
    let device = unsafe { HandedOverDevice::new(&eal, DEVICE, &[queue], DESCRIPTORS) };
    let device = DpdkDevice::adopt(&eal, device.ok_or("no device")?)?;
    let lcore = Lcore::new(Config::default());
    lcore.add_queue_pair(spinlane::cryptodev::Device::queue_pair(
        &device,
        Default::default(),
    )?);
    // SAFETY: the port is started, the queues are this lcore's alone, and both outlast this function.
    let frames = unsafe { HandedOver::new(eal.running(), PORT, queue, pool as *mut c_void) };
    let mut mac = sys::rte_ether_addr::default();
    // SAFETY: the port exists; the address is ours to write.
    unsafe { sys::rte_eth_macaddr_get(PORT, &mut mac) };
    let config = net::Config::new(Mac(mac.addr_bytes), options.interface, options.secret);
    let mut stack = Stack::new(config, QueuePair::adopt(frames))?;
    let listener = stack.listen((options.interface.address, 443).into())?;
    let mut server = Server {
        options,
        lcore: &lcore,
        peers: HashMap::new(),
        accepted: 0,
        served: 0,
    };
    let begun = Clock::now();
    while !STOP.load(Ordering::Relaxed) {
        let now = Instant::from_micros(begun.elapsed().as_micros() as u64 + 1);
        stack.receive(now, |_, _| 0);
        lcore.poll()?;
        server.turn(&mut stack, listener)?;
        stack.transmit(now);
    }
    let counts = lcore.stats().channels.swap_remove(0).counts;
    Ok((server.served, counts.completed))
}

/// A client.
struct Peer {
    name: Conn,
    tls: Connection,
    /// It was answered; what is in the output still goes.
    answered: bool,
}

struct Server<'a> {
    options: &'a Options,
    lcore: &'a Lcore,
    peers: HashMap<FlowId, Peer>,
    accepted: u64,
    served: u64,
}

impl Server<'_> {
    fn turn(&mut self, stack: &mut Stack, listener: ListenerId) -> Result<(), Failure> {
        while let Some(flow) = stack.accept(listener) {
            self.accepted += 1;
            let name = Conn(self.accepted);
            let mut tls = Connection::server(Arc::clone(&self.options.tls))?;
            tls.attach(self.lcore, name);
            let answered = false;
            self.peers.insert(
                flow,
                Peer {
                    name,
                    tls,
                    answered,
                },
            );
        }
        // All are asked in every turn: a paused call may be made again at any time. echo_rustls.rs asks those that are ready.
        while self.lcore.next_ready().is_some() || stack.next_ready().is_some() {}
        let (served, lcore) = (&mut self.served, self.lcore);
        self.peers.retain(|flow, peer| {
            let goes_on = peer.turn(stack, *flow);
            if !goes_on {
                *served += u64::from(peer.answered);
                stack.release(*flow);
                lcore.forget(peer.name);
            }
            goes_on
        });
        Ok(())
    }
}

impl Peer {
    /// Goes on as far as it can. Returns `false` at the end.
    fn turn(&mut self, stack: &mut Stack, flow: FlowId) -> bool {
        let mut ends = self.answered;
        while !ends {
            match self.tls.read(&mut [0; 4096]) {
                Ok(Progress::Done(_)) => {
                    let answer =
                        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello";
                    self.answered = self.tls.write(answer).is_ok();
                    self.tls.shutdown();
                    ends = true;
                }
                Ok(Progress::WantInput) => {
                    let read = self.tls.read_input(|room| {
                        Ok(stack.read(flow, |[first, second]| {
                            let mut all = first.iter().chain(second);
                            let places = room.iter_mut().zip(&mut all);
                            places.map(|(place, byte)| *place = *byte).count()
                        }))
                    });
                    if !matches!(read, Ok(1..)) {
                        ends = stack.peer_finished(flow) || stack.end(flow).is_some();
                        break;
                    }
                }
                // For its op, or for room.
                Ok(
                    Progress::Paused | Progress::Refused | Progress::NoJobs | Progress::WantOutput,
                ) => break,
                Ok(Progress::Closed) | Err(_) => ends = true,
            }
        }
        while self.tls.output_len() != 0 {
            let written = self.tls.write_output(|bytes| Ok(stack.write(flow, bytes)));
            if !matches!(written, Ok(1..)) {
                break;
            }
        }
        let is_over = stack.end(flow).is_some();
        !(is_over || (ends && self.tls.output_len() == 0))
    }
}
