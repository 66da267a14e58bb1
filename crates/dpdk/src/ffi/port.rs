//! A port: its set-up, its queues' bursts.

use std::ffi::{CStr, CString, c_int};
use std::ptr;
use std::sync::{Arc, Mutex, PoisonError};

use dpdk_sys as sys;

use super::{HandedOver, Running, errno, unique_name};
use crate::port::Losses;

/// Packets of a burst.
const BURST: usize = 32;
/// Bytes of a packet's room: DPDK's headroom of 128, and a frame of up to 2048 bytes.
const ROOM: u16 = 2176;
/// Packets that a thread keeps of a pool.
const CACHE: u32 = 256;

/// Why a port cannot be set up.
pub(crate) enum SetUp {
    Pool {
        packets: u32,
        bytes: u32,
        error: c_int,
    },
    Step {
        step: &'static str,
        error: c_int,
    },
}

/// A port that runs.
pub(crate) struct Ready {
    pub(crate) mtu: u16,
    pub(crate) mac: [u8; 6],
    pub(crate) tx_checksums: bool,
}

/// A port that was plugged in; closed and unplugged when dropped.
#[derive(Debug)]
pub(crate) struct Opened {
    running: Running,
    bus: CString,
    name: CString,
    id: u16,
    started: bool,
    /// One per queue. Freed after the port is closed, since its rings hold packets until then.
    pools: Vec<Pool>,
}

/// Packets of a queue pair.
#[derive(Debug)]
pub(crate) struct Pool(*mut sys::rte_mempool);

// SAFETY: a mempool may be used, and freed, by any thread.
unsafe impl Send for Pool {}
// SAFETY: as many at once as like.
unsafe impl Sync for Pool {}

impl Drop for Pool {
    fn drop(&mut self) {
        // SAFETY: made by rte_pktmbuf_pool_create and freed once, when its port is closed and all queue pairs have
        // given their packets back.
        unsafe { sys::rte_mempool_free(self.0) }
    }
}

fn step(step: &'static str, result: c_int) -> Result<(), SetUp> {
    match result {
        0.. => Ok(()),
        error => Err(SetUp::Step { step, error }),
    }
}

/// Why a device gives no port.
pub(crate) enum Plug {
    InUse,
    Refused(c_int),
    NoPort,
}

fn number(name: &CStr) -> Option<u16> {
    let mut id = 0;
    // SAFETY: a string that ends with a zero, and a number that is ours to write.
    let found = unsafe { sys::rte_eth_dev_get_port_by_name(name.as_ptr(), &mut id) };
    (found == 0).then_some(id)
}

impl Opened {
    /// Plugs in the device `name`, which must be a port that nobody has.
    pub(crate) fn plug(
        running: &Running,
        bus: &CStr,
        name: &CStr,
        arguments: &CStr,
    ) -> Result<Self, Plug> {
        // EAL says yes to a device that is plugged in already, so that we look before, one at a time.
        static TURN: Mutex<()> = Mutex::new(());
        let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        if number(name).is_some() {
            return Err(Plug::InUse);
        }
        running.plug(bus, name, arguments).map_err(Plug::Refused)?;
        let Some(id) = number(name) else {
            let _ = running.unplug(bus, name);
            return Err(Plug::NoPort);
        };
        Ok(Self {
            running: running.clone(),
            bus: bus.to_owned(),
            name: name.to_owned(),
            id,
            started: false,
            pools: Vec::new(),
        })
    }

    fn info(&self) -> sys::rte_eth_dev_info {
        let mut info = sys::rte_eth_dev_info::default();
        // SAFETY: the port exists; `info` is ours to write. If it fails there are no queues in it.
        unsafe { sys::rte_eth_dev_info_get(self.id, &mut info) };
        info
    }

    /// Queue pairs that it can have.
    pub(crate) fn most_queues(&self) -> u16 {
        let info = self.info();
        info.max_rx_queues.min(info.max_tx_queues)
    }

    pub(crate) fn is_up(&self) -> bool {
        // SAFETY: the port exists.
        unsafe { sys::shim_link_is_up(self.id) == 1 }
    }

    /// Configures and starts the port.
    pub(crate) fn set_up(
        &mut self,
        queues: u16,
        descriptors: u16,
        mac: Option<[u8; 6]>,
    ) -> Result<Ready, SetUp> {
        let (id, info) = (self.id, self.info());
        let mut conf = sys::rte_eth_conf::default();
        let has_all = |has: u64, wanted: u64| has & wanted == wanted;
        let tx_checksums = has_all(info.tx_offload_capa, sys::SHIM_PORT_TX_CHECKSUMS);
        if tx_checksums {
            conf.txmode.offloads = sys::SHIM_PORT_TX_CHECKSUMS;
        }
        if has_all(info.rx_offload_capa, sys::SHIM_PORT_RX_CHECKSUMS) {
            conf.rxmode.offloads = sys::SHIM_PORT_RX_CHECKSUMS;
        }
        if queues > 1 {
            // SAFETY: both are whole.
            unsafe { sys::shim_spread(&mut conf, &info) };
        }
        // SAFETY: the port exists and is stopped; `conf` is read.
        step("rte_eth_dev_configure", unsafe {
            sys::rte_eth_dev_configure(id, queues, queues, &conf)
        })?;
        let (mut rx, mut tx) = (descriptors, descriptors);
        // SAFETY: the port is configured; both numbers are ours to write.
        step("rte_eth_dev_adjust_nb_rx_tx_desc", unsafe {
            sys::rte_eth_dev_adjust_nb_rx_tx_desc(id, &mut rx, &mut tx)
        })?;
        let packets = u32::from(rx) + u32::from(tx) + 2 * CACHE + 4 * BURST as u32;
        for queue in 0..queues {
            let pool = self.pool(packets)?;
            let raw = pool.0;
            self.pools.push(pool);
            // SAFETY: a queue below the number configured; a default configuration; the pool outlives the port.
            step("rte_eth_rx_queue_setup", unsafe {
                sys::rte_eth_rx_queue_setup(id, queue, rx, self.socket(), ptr::null(), raw)
            })?;
            // SAFETY: as before.
            step("rte_eth_tx_queue_setup", unsafe {
                sys::rte_eth_tx_queue_setup(id, queue, tx, self.socket(), ptr::null())
            })?;
        }
        // SAFETY: the port is configured, and all its queues are set up.
        step("rte_eth_dev_start", unsafe { sys::rte_eth_dev_start(id) })?;
        self.started = true;
        self.address(mac);
        let mut mtu = 0;
        // SAFETY: the port exists; `mtu` is ours to write.
        step("rte_eth_dev_get_mtu", unsafe {
            sys::rte_eth_dev_get_mtu(id, &mut mtu)
        })?;
        Ok(Ready {
            // A longer frame has no room in a packet.
            mtu: mtu.min(ROOM - 128 - 14),
            mac: self.mac(),
            tx_checksums,
        })
    }

    fn socket(&self) -> u32 {
        // SAFETY: the port exists.
        let socket = unsafe { sys::rte_eth_dev_socket_id(self.id) };
        // A virtual device has none: the calling thread's.
        u32::try_from(socket).unwrap_or_else(|_| u32::try_from(self.running.socket()).unwrap_or(0))
    }

    fn pool(&self, packets: u32) -> Result<Pool, SetUp> {
        let (name, socket) = (unique_name("packets"), self.socket().cast_signed());
        // SAFETY: EAL runs; a string that ends with a zero and is copied.
        let pool =
            unsafe { sys::rte_pktmbuf_pool_create(name.as_ptr(), packets, CACHE, 0, ROOM, socket) };
        if pool.is_null() {
            let (bytes, error) = (ROOM.into(), errno());
            return Err(SetUp::Pool {
                packets,
                bytes,
                error,
            });
        }
        Ok(Pool(pool))
    }

    /// Lets the port receive what is for `mac` or its own address, and for groups (neighbour discovery).
    fn address(&self, mac: Option<[u8; 6]>) {
        if let Some(mac) = mac {
            let mut address = sys::rte_ether_addr { addr_bytes: mac };
            // SAFETY: the port exists; the address is copied.
            let set = unsafe { sys::rte_eth_dev_default_mac_addr_set(self.id, &mut address) };
            if set != 0 || self.mac() != mac {
                // SAFETY: the port exists.
                let all = unsafe { sys::rte_eth_promiscuous_enable(self.id) };
                tracing::info!(port = ?self.name, all, "receives everything: it takes no other address");
            }
        }
        // SAFETY: the port exists. One that cannot receives all groups anyway, or says so by ENOTSUP.
        let _ = unsafe { sys::rte_eth_allmulticast_enable(self.id) };
    }

    fn mac(&self) -> [u8; 6] {
        let mut address = sys::rte_ether_addr::default();
        // SAFETY: the port exists; the address is ours to write.
        unsafe { sys::rte_eth_macaddr_get(self.id, &mut address) };
        address.addr_bytes
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        // SAFETY: the port exists, and nobody holds it any more. Closing frees the packets in its rings, whose pools are
        // freed later.
        let closed = unsafe {
            if self.started {
                sys::rte_eth_dev_stop(self.id);
            }
            sys::rte_eth_dev_close(self.id)
        };
        let unplugged = self.running.unplug(&self.bus, &self.name);
        if closed != 0 || unplugged.is_err() {
            tracing::warn!(port = ?self.name, closed, ?unplugged, "cannot be closed");
        }
    }
}

/// A queue pair's bursts.
#[derive(Debug)]
pub(crate) struct RawQueuePair {
    running: Running,
    /// Keeps the port open; `None` if it is the application's.
    opened: Option<Arc<Opened>>,
    id: u16,
    pool: *mut sys::rte_mempool,
    queue: u16,
    /// Empty packets, to be filled.
    fresh: Vec<*mut sys::rte_mbuf>,
    /// Filled ones.
    filled: Vec<*mut sys::rte_mbuf>,
    registered: bool,
    pub(crate) losses: Losses,
}

// SAFETY: packets and queues may be used by any thread, one at a time, which `&mut self` sees to. A thread that is not
// registered with EAL does without the pool's cache.
unsafe impl Send for RawQueuePair {}

impl RawQueuePair {
    /// The queue pair `queue` of a port that has been set up with more; nobody else's.
    pub(crate) fn new(opened: &Arc<Opened>, queue: u16) -> Self {
        // SAFETY: the port is ours, and set up with the queue and a pool for it; `opened` keeps both.
        let handed = unsafe {
            let pool = opened.pools[usize::from(queue)].0;
            HandedOver::new(&opened.running, opened.id, queue, pool.cast())
        };
        let mut pair = Self::adopt(handed);
        pair.opened = Some(opened.clone());
        pair
    }

    /// A queue pair of the application's.
    pub(crate) fn adopt(handed: HandedOver) -> Self {
        let HandedOver {
            running,
            port,
            queue,
            pool,
        } = handed;
        Self {
            running,
            opened: None,
            id: port,
            pool,
            queue,
            fresh: Vec::with_capacity(BURST),
            filled: Vec::with_capacity(BURST),
            registered: false,
            losses: Losses::default(),
        }
    }

    /// Receives a burst and lends each frame.
    pub(crate) fn receive(&mut self, mut take: impl FnMut(&[u8], bool)) -> usize {
        if !self.registered {
            // Without it the pool's cache would go unused, and nothing else.
            self.registered = true;
            let _ = self.running.register_thread();
        }
        let mut packets = [ptr::null_mut(); BURST];
        let id = self.id;
        // SAFETY: the port is started, the queue one of its, and nobody else's; there is room for BURST packets.
        let count =
            unsafe { sys::shim_rx_burst(id, self.queue, packets.as_mut_ptr(), BURST as u16) };
        if count == 0 {
            return 0;
        }
        let mut frames = [sys::shim_frame::default(); BURST];
        // SAFETY: so many packets came, and there is room to describe BURST.
        unsafe { sys::shim_frames(packets.as_mut_ptr(), count, frames.as_mut_ptr()) };
        for frame in &frames[..usize::from(count)] {
            if frame.data.is_null() {
                self.losses.in_pieces += 1;
                continue;
            }
            // SAFETY: the packet has so many bytes in one piece, and is freed below.
            let bytes = unsafe { std::slice::from_raw_parts(frame.data, frame.len as usize) };
            take(bytes, frame.checked != 0);
        }
        // SAFETY: so many packets that are ours, freed once.
        unsafe { sys::shim_mbuf_free_bulk(packets.as_mut_ptr(), count.into()) };
        count.into()
    }

    /// Takes a frame of `len` bytes. Returns `false` if there is no packet for it, or it is too long for one.
    pub(crate) fn transmit(
        &mut self,
        len: usize,
        sums: bool,
        fill: impl FnOnce(&mut [u8]),
    ) -> bool {
        if self.filled.len() == BURST {
            self.flush();
        }
        let Some(packet) = self.fresh() else {
            self.losses.no_packet += 1;
            return false;
        };
        let short = u16::try_from(len).unwrap_or(u16::MAX);
        // SAFETY: a packet of ours that is empty.
        let at = unsafe { sys::shim_mbuf_begin(packet, short) };
        if at.is_null() {
            self.fresh.push(packet);
            return false;
        }
        // SAFETY: DPDK has made room for so many bytes, which nobody else sees. They are given a value, since a pool's memory is
        // zeroed when it is made and reused afterwards.
        let frame = unsafe { std::slice::from_raw_parts_mut(at, len) };
        fill(frame);
        if sums {
            set_checksums(packet, frame);
        }
        self.filled.push(packet);
        true
    }

    fn fresh(&mut self) -> Option<*mut sys::rte_mbuf> {
        if self.fresh.is_empty() {
            let mut packets = [ptr::null_mut(); BURST];
            // SAFETY: the pool outlives its queue pair; there is room for BURST of them.
            let got =
                unsafe { sys::shim_mbuf_alloc_bulk(self.pool, packets.as_mut_ptr(), BURST as u32) };
            if got != 0 {
                return None;
            }
            self.fresh.extend_from_slice(&packets);
        }
        self.fresh.pop()
    }

    /// Sends what was taken. What finds no room in the ring is lost.
    pub(crate) fn flush(&mut self) {
        if self.filled.is_empty() {
            return;
        }
        let (id, queue) = (self.id, self.queue);
        let count = self.filled.len();
        // SAFETY: the port is started and the queue ours; so many packets, of which those sent are the port's from now on.
        let sent = unsafe { sys::shim_tx_burst(id, queue, self.filled.as_mut_ptr(), count as u16) };
        let rest = &mut self.filled[usize::from(sent)..];
        if !rest.is_empty() {
            self.losses.ring_full += rest.len() as u64;
            // SAFETY: those that were not sent are still ours, and freed once.
            unsafe { sys::shim_mbuf_free_bulk(rest.as_mut_ptr(), rest.len() as u32) };
        }
        self.filled.clear();
    }
}

/// Tells the port where an IP packet's TCP segment begins, whose checksums it is to compute. Others (ARP, ICMP) have theirs.
fn set_checksums(packet: *mut sys::rte_mbuf, frame: &[u8]) {
    let (is_v4, protocol, l3) = match frame.get(12..14) {
        Some([8, 0]) => (1, frame.get(23), 20),
        Some([0x86, 0xdd]) => (0, frame.get(20), 40),
        _ => return,
    };
    if protocol == Some(&6) {
        // SAFETY: a packet of ours.
        unsafe { sys::shim_mbuf_checksums(packet, is_v4, l3) };
    }
}

impl Drop for RawQueuePair {
    fn drop(&mut self) {
        for packets in [&mut self.fresh, &mut self.filled] {
            if !packets.is_empty() {
                // SAFETY: packets of ours, freed once.
                unsafe { sys::shim_mbuf_free_bulk(packets.as_mut_ptr(), packets.len() as u32) };
            }
        }
    }
}
