//! A DPDK application that embeds Spinlane: it has a main of its own, initialises EAL itself, and
//! configures its port and its crypto device as it always has. Each of its lcores gives Spinlane one
//! queue pair, and polls Spinlane in its loop between the bursts of its port.
//!
//! ```text
//!   rx burst ─▶ a job per packet: signs it, pauses ─▶ lcore.poll() ─▶ resumed, signed ─▶ tx burst
//! ```
//! The port is net_null and the device crypto_openssl, so that it runs anywhere:
//! `cargo run -p spinlane-driver-dpdk --features dpdk --example pipeline`.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::ffi::{CString, c_char, c_int, c_uint, c_void};
use std::ptr;
use std::rc::Rc;
use std::sync::Arc;

use dpdk_sys as sys;
use spinlane_crypto::{Key, test_keys::der};
use spinlane_cryptodev::test_keys;
use spinlane_cryptodev::{Device, KeyHandle, QueuePairConfig, Request};
use spinlane_driver_dpdk::{DpdkDevice, Eal, HandedOver};
use spinlane_job::{self as job, Job, Progress, WaitCtx};
use spinlane_lcore::{Config, Conn, Lcore, offload};

/// One queue of the port and one queue pair of the device for each.
const LCORES: u16 = 2;
const PORT: u16 = 0;
const DEVICE: u8 = 0;
const DESCRIPTORS: u32 = 64;
const BURST: usize = 32;
/// Packets that each lcore signs before it ends.
const PACKETS: usize = 100;
/// Jobs at a time, more than the queue pair holds: some wait in the retry queue.
const JOBS: usize = 96;

fn main() {
    init_eal();
    set_up_port();
    set_up_device();
    println!("{LCORES} lcores, {PACKETS} packets each");
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
fn init_eal() {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let cores: Vec<_> = (0..cores).map(|core| core.to_string()).collect();
    let cores = cores.join(",");
    let prefix = format!("--file-prefix=pipeline_{}", std::process::id());
    let lcores = format!("--lcores=0@({cores}),1@({cores})");
    let args = [
        "pipeline",
        "--no-huge",
        "-m128",
        "--no-shconf",
        "--no-pci",
        "--no-telemetry",
    ];
    let args = args.into_iter().chain([
        "--iova-mode=va",
        "--vdev=net_null0",
        "--vdev=crypto_openssl",
    ]);
    let mut args: Vec<*mut c_char> = args
        .chain([prefix.as_str(), lcores.as_str()])
        .map(|arg| CString::new(arg).expect("no zero byte").into_raw())
        .collect();
    // SAFETY: strings that end with a zero, as many as said, which EAL may keep: they are never freed.
    let done = unsafe { sys::rte_eal_init(args.len() as c_int, args.as_mut_ptr()) };
    assert!(done >= 0, "rte_eal_init");
}

fn set_up_port() {
    let config = sys::rte_eth_conf::default();
    // SAFETY: the port exists (--vdev=net_null0); the pool and the configuration are valid.
    unsafe {
        let pool = sys::rte_pktmbuf_pool_create(c"packets".as_ptr(), 4095, 0, 0, 2048, 0);
        assert!(!pool.is_null(), "rte_pktmbuf_pool_create");
        assert_eq!(sys::rte_eth_dev_configure(PORT, LCORES, LCORES, &config), 0);
        for queue in 0..LCORES {
            let (rx, tx) = (ptr::null(), ptr::null());
            assert_eq!(sys::rte_eth_rx_queue_setup(PORT, queue, 64, 0, rx, pool), 0);
            assert_eq!(sys::rte_eth_tx_queue_setup(PORT, queue, 64, 0, tx), 0);
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
    let signed = std::panic::catch_unwind(|| pipeline(queue));
    println!("lcore {queue}: {signed:?} packets signed and sent");
    c_int::from(!matches!(signed, Ok(PACKETS)))
}

/// The loop of one lcore; returns how many packets it has signed and sent.
fn pipeline(queue: u16) -> usize {
    let eal = Eal::adopt().expect("EAL runs");
    // SAFETY: set up with so many descriptors, given to this lcore alone, and stopped after it ends.
    let queue_pair = unsafe { HandedOver::new(&eal, DEVICE, &[queue], DESCRIPTORS) };
    let device = DpdkDevice::adopt(&eal, queue_pair.expect("the device")).expect("RSA");
    let lcore = Lcore::new(Config::default());
    lcore.add_queue_pair(
        device
            .queue_pair(QueuePairConfig::default())
            .expect("memory"),
    );
    let _entered = lcore.enter();

    let key = test_keys::rsa(der::RSA_2048);
    let signed = Rc::new(Signed::default());
    let mut jobs: Vec<Option<Waiting>> = (0..JOBS).map(|_| None).collect();
    let (mut begun, mut sent) = (0, 0);
    while sent < PACKETS {
        for (slot, job) in jobs.iter_mut().enumerate().filter(|(_, job)| job.is_none()) {
            let packets = if begun < PACKETS {
                receive(queue)
            } else {
                Vec::new()
            };
            let Some(packet) = packets.first().copied() else {
                break;
            };
            begun += 1;
            *job = begin(slot, packet, &key, &signed);
        }
        lcore.poll().expect("no poll inside a poll");
        while let Some(Conn(slot)) = lcore.next_ready() {
            resume(&mut jobs[slot as usize]);
        }
        sent += send(queue, &mut signed.packets.borrow_mut());
    }
    assert_eq!(signed.wrong.get(), 0, "signatures are right");
    sent
}

/// Packets whose signatures are there.
#[derive(Default)]
struct Signed {
    packets: RefCell<VecDeque<*mut sys::rte_mbuf>>,
    wrong: Cell<usize>,
}

struct Waiting {
    _ctx: Rc<WaitCtx>,
    job: Rc<Job>,
}

/// Starts the job of one packet; `None` if it has ended already.
fn begin(
    slot: usize,
    packet: *mut sys::rte_mbuf,
    key: &Arc<KeyHandle>,
    signed: &Rc<Signed>,
) -> Option<Waiting> {
    let ctx = WaitCtx::new();
    // Its op is done, or was refused and there is room: either way the slot comes out of `next_ready`.
    ctx.set_notify(Some(Conn(slot as u64).into()));
    let (key, signed) = (Arc::clone(key), Rc::clone(signed));
    let body = move || {
        // A TLS stack would run here, its private-key ops offloaded; a signature stands for it.
        let Some(Key::Rsa(rsa)) = key.as_local() else {
            return 1;
        };
        let mut block = vec![slot as u8; rsa.modulus_len()];
        block[0] = 0;
        block[1] = 1;
        let mut signature = vec![0; block.len()];
        let request = Request::rsa_private(&key, &block).expect("below the modulus");
        let done = offload(&request, &mut signature);
        let right = done.is_ok() && rsa.verify_raw(&signature, &block);
        signed.wrong.set(signed.wrong.get() + usize::from(!right));
        signed.packets.borrow_mut().push_back(packet);
        0
    };
    let (_, job) = job::start(Some(&ctx), body).expect("room for a job");
    job.map(|job| Waiting { _ctx: ctx, job })
}

fn resume(slot: &mut Option<Waiting>) {
    let Some(Waiting { job, .. }) = slot else {
        return;
    };
    if job.awaited() != 0 && !job.is_complete() {
        return;
    }
    if let Ok(Progress::Finished(_)) = job.resume() {
        *slot = None;
    }
}

/// One packet, if there is one.
fn receive(queue: u16) -> Vec<*mut sys::rte_mbuf> {
    let mut packets = [ptr::null_mut(); 1];
    // SAFETY: room for one packet; the queue is this lcore's alone.
    let count = unsafe { sys::shim_rx_burst(PORT, queue, packets.as_mut_ptr(), 1) };
    packets[..usize::from(count)].to_vec()
}

/// Sends what is signed; returns how many packets the port took.
fn send(queue: u16, packets: &mut VecDeque<*mut sys::rte_mbuf>) -> usize {
    let burst = packets.make_contiguous();
    let count = burst.len().min(BURST) as u16;
    // SAFETY: packets of ours, which the port owns once it has taken them; the queue is this lcore's.
    let sent = unsafe { sys::shim_tx_burst(PORT, queue, burst.as_mut_ptr(), count) };
    packets.drain(..usize::from(sent)).count()
}
