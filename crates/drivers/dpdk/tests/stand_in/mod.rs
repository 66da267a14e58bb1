//! A device's side that stands in for a card: no card, and no driver of one, but test code behind DPDK's own calls.
//!
//! The device is a `crypto_openssl`, which computes RSA itself. As it is started, its entry in `rte_crypto_fp_ops` is
//! replaced, so that bursts come here first: ops on curves are read as a driver reads them (by `shim_read_…`), computed
//! by OpenSSL, and given back as the test wants: in another order, with short or long numbers, wrong, failed. A few of
//! DPDK's functions are defined here too, in front of the library's, so that sessions on curves exist, and so that the
//! device counts as a card and lists what the test says. All other devices and calls go on to the library.

mod compute;

use std::collections::{HashMap, VecDeque};
use std::ffi::{CStr, CString, c_int, c_void};
use std::sync::{LazyLock, Mutex, MutexGuard};

use allocation_counter::opt_out;
use dpdk_sys as sys;

/// What the device is to be.
#[derive(Clone, Copy, Debug)]
pub struct Nature {
    /// A card, which lists nothing but may do all, as crypto_qat before 25.11.
    pub card: bool,
    /// It lists ECDSA and the multiplication of points.
    pub lists: bool,
    /// It takes sessions for P-384.
    pub sessions_p384: bool,
    /// Ops on P-384 succeed.
    pub ops_p384: bool,
    /// It has lost the private key, as crypto_qat of 23.11.0 did: signatures are another key's.
    pub loses_keys: bool,
    /// How numbers are written.
    pub form: Form,
    pub order: Order,
    /// Ops on curves that it holds; then it is full.
    pub room: usize,
}

/// Cards write numbers as long as the curve's; DPDK allows less.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Full,
    /// Without leading zeros.
    Short,
    /// With zeros in front, 64 bytes.
    Long,
}

/// In which order ops come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    First,
    Last,
    /// Any, by this seed.
    Any(u64),
}

impl Nature {
    pub const CARD: Self = Self {
        card: true,
        lists: true,
        sessions_p384: true,
        ops_p384: true,
        loses_keys: false,
        form: Form::Full,
        order: Order::First,
        room: 1023,
    };
}

/// What becomes of an op, once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    Right,
    /// A bit of the first number, or of the second, is another.
    Flipped(usize),
    /// The numbers are a byte longer than there is room for by the curve, which is not zero.
    TooLong,
    /// More bytes are said to be written than any number has.
    Endless,
    /// Success, and nothing is written.
    Nothing,
    /// Success with numbers of no length.
    Empty,
    Failed,
    /// It stays with the device until [`release`].
    Kept,
}

/// A device that tests say how to be.
struct Device {
    nature: Nature,
    answers: VecDeque<Answer>,
    /// Done, to be given back.
    done: Vec<Done>,
    kept: Vec<Done>,
    seen: Seen,
    /// The driver's own bursts.
    real: (sys::enqueue_pkt_burst_t, sys::dequeue_pkt_burst_t),
}

struct Done {
    op: usize,
    /// Order in which it came.
    number: u64,
}

/// What the device has seen of ops on curves.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Curves of sessions that were made and that were refused.
    pub sessions: Vec<c_int>,
    pub refused: Vec<c_int>,
    pub signatures: u64,
    pub products: u64,
    pub nonces: Vec<Vec<u8>>,
    /// What a driver could not have taken.
    pub complaints: Vec<String>,
    /// Where operands and results lay that an op brought with it.
    places: Vec<(usize, usize)>,
}

impl Seen {
    /// Whether all those places are zero. The queue pair must be alive.
    pub fn is_wiped(&self) -> bool {
        self.places.iter().all(|(at, len)| {
            // SAFETY: memory of objects of a queue pair that is alive and has no op in flight.
            let bytes = unsafe { std::slice::from_raw_parts(*at as *const u8, *len) };
            bytes.iter().all(|byte| *byte == 0)
        })
    }
}

/// A session of ours: what the driver in a release keeps of a transform.
struct Session {
    device: String,
    curve: compute::Curve,
    secret: Vec<u8>,
    signs: bool,
}

#[derive(Default)]
struct World {
    devices: HashMap<String, Device>,
    sessions: HashMap<usize, Session>,
    /// Which device a queue pair is of.
    queue_pairs: HashMap<usize, String>,
}

fn world() -> MutexGuard<'static, World> {
    static WORLD: LazyLock<Mutex<World>> = LazyLock::new(Mutex::default);
    WORLD
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Makes the device that will be called `name` one that stands in.
pub fn be(name: &str, nature: Nature) {
    let device = Device {
        nature,
        answers: VecDeque::new(),
        done: Vec::new(),
        kept: Vec::new(),
        seen: Seen::default(),
        real: (None, None),
    };
    let before = world().devices.insert(name.to_owned(), device);
    assert!(before.is_none(), "{name} is there already");
}

fn with<T>(name: &str, act: impl FnOnce(&mut Device) -> T) -> T {
    act(world().devices.get_mut(name).expect("a stand-in"))
}

/// What becomes of the next ops, in the order in which they come; those after them are right.
pub fn answer(name: &str, answers: &[Answer]) {
    with(name, |device| device.answers.extend(answers));
}

/// The device forgets what it has seen and what it was to answer, and is so from now on.
pub fn change(name: &str, nature: Nature) {
    with(name, |device| {
        device.nature = nature;
        device.answers.clear();
        device.seen = Seen::default();
    });
}

pub fn seen(name: &str) -> Seen {
    with(name, |device| device.seen.clone())
}

/// The device's number.
pub fn number(name: &str) -> u8 {
    let name = CString::new(name).expect("a name");
    // SAFETY: a string that is not kept.
    let number = unsafe { sys::rte_cryptodev_get_dev_id(name.as_ptr()) };
    u8::try_from(number).expect("there is one")
}

/// Gives back what was kept.
pub fn release(name: &str) {
    with(name, |device| device.done.append(&mut device.kept));
}

/// The library's own function of this name.
fn library<F: Copy>(name: &CStr) -> F {
    assert_eq!(size_of::<F>(), size_of::<*mut c_void>());
    // SAFETY: a string that ends with zero.
    let function = unsafe { libc::dlsym(libc::RTLD_NEXT, name.as_ptr()) };
    assert!(!function.is_null(), "DPDK has {name:?}");
    // SAFETY: a pointer to a function, which callers name with its type in DPDK.
    unsafe { std::mem::transmute_copy(&function) }
}

fn name_of(device: u8) -> String {
    // SAFETY: takes any number; the name lives as long as the device.
    let name = unsafe { sys::rte_cryptodev_name_get(device) };
    if name.is_null() {
        return String::new();
    }
    // SAFETY: not null, so a string.
    unsafe { CStr::from_ptr(name) }
        .to_string_lossy()
        .into_owned()
}

fn nature_of(device: u8) -> Option<Nature> {
    world()
        .devices
        .get(&name_of(device))
        .map(|device| device.nature)
}

/// # Safety
/// As DPDK's.
#[unsafe(no_mangle)]
unsafe extern "C" fn rte_cryptodev_info_get(device: u8, info: *mut sys::rte_cryptodev_info) {
    type Get = unsafe extern "C" fn(u8, *mut sys::rte_cryptodev_info);
    // SAFETY: the library's, with the caller's promise.
    unsafe { library::<Get>(c"rte_cryptodev_info_get")(device, info) };
    if nature_of(device).is_some_and(|nature| nature.card) {
        // SAFETY: the caller's, just written.
        unsafe { (*info).feature_flags |= u64::from(sys::RTE_CRYPTODEV_FF_HW_ACCELERATED) };
    }
}

/// # Safety
/// As DPDK's.
#[unsafe(no_mangle)]
unsafe extern "C" fn rte_cryptodev_asym_capability_get(
    device: u8,
    index: *const sys::rte_cryptodev_asym_capability_idx,
) -> *const sys::rte_cryptodev_asymmetric_xform_capability {
    type Get = unsafe extern "C" fn(
        u8,
        *const sys::rte_cryptodev_asym_capability_idx,
    ) -> *const sys::rte_cryptodev_asymmetric_xform_capability;
    // SAFETY: the caller's.
    let kind = unsafe { (*index).type_ };
    let on_curves = [
        sys::RTE_CRYPTO_ASYM_XFORM_ECDSA,
        sys::RTE_CRYPTO_ASYM_XFORM_ECPM,
    ];
    match nature_of(device) {
        Some(nature) if nature.lists && on_curves.contains(&kind) => {
            Box::leak(Box::default()) // curves: none is told
        }
        // SAFETY: the library's, with the caller's promise.
        _ => unsafe { library::<Get>(c"rte_cryptodev_asym_capability_get")(device, index) },
    }
}

/// # Safety
/// As DPDK's.
#[unsafe(no_mangle)]
unsafe extern "C" fn rte_cryptodev_asym_session_create(
    device: u8,
    xform: *mut sys::rte_crypto_asym_xform,
    pool: *mut sys::rte_mempool,
    session: *mut *mut c_void,
) -> c_int {
    type Create = unsafe extern "C" fn(
        u8,
        *mut sys::rte_crypto_asym_xform,
        *mut sys::rte_mempool,
        *mut *mut c_void,
    ) -> c_int;
    let mut asked = sys::shim_ec_xform::default();
    // SAFETY: the caller's transform.
    unsafe { sys::shim_read_xform(xform, &mut asked) };
    let Some(nature) = nature_of(device).filter(|_| asked.is_ecdsa + asked.is_ecpm == 1) else {
        // SAFETY: the library's, with the caller's promise.
        return unsafe {
            library::<Create>(c"rte_cryptodev_asym_session_create")(device, xform, pool, session)
        };
    };
    let mut world = world();
    let name = name_of(device);
    let curve = compute::Curve::numbered(asked.curve);
    let seen = &mut world.devices.get_mut(&name).expect("a stand-in").seen;
    match curve {
        Some(curve) if nature.sessions_p384 || curve == compute::Curve::P256 => {
            seen.sessions.push(asked.curve);
            let secret = match asked.secret.data.is_null() {
                true => Vec::new(),
                // SAFETY: the caller's number.
                false => unsafe { compute::read(asked.secret) },
            };
            // SAFETY: where the caller wants it. Anything that differs from every other does.
            unsafe { *session = Box::into_raw(Box::new(0u64)).cast() };
            let made = Session {
                device: name,
                curve,
                secret,
                signs: asked.is_ecdsa == 1,
            };
            // SAFETY: just written.
            world.sessions.insert(unsafe { *session }.addr(), made);
            0
        }
        _ => {
            seen.refused.push(asked.curve);
            -libc::ENOTSUP
        }
    }
}

/// # Safety
/// As DPDK's.
#[unsafe(no_mangle)]
unsafe extern "C" fn rte_cryptodev_asym_session_free(device: u8, session: *mut c_void) -> c_int {
    type Free = unsafe extern "C" fn(u8, *mut c_void) -> c_int;
    if world().sessions.remove(&session.addr()).is_some() {
        // SAFETY: one of ours, gone from the list.
        drop(unsafe { Box::from_raw(session.cast::<u64>()) });
        return 0;
    }
    // SAFETY: the library's, with the caller's promise.
    unsafe { library::<Free>(c"rte_cryptodev_asym_session_free")(device, session) }
}

/// # Safety
/// As DPDK's.
#[unsafe(no_mangle)]
unsafe extern "C" fn rte_cryptodev_start(device: u8) -> c_int {
    type Start = unsafe extern "C" fn(u8) -> c_int;
    // SAFETY: the library's, with the caller's promise.
    let result = unsafe { library::<Start>(c"rte_cryptodev_start")(device) };
    let name = name_of(device);
    let mut world = world();
    let World {
        devices,
        queue_pairs,
        ..
    } = &mut *world;
    if let Some(stand_in) = devices.get_mut(&name).filter(|_| result == 0) {
        let table = (&raw mut sys::rte_crypto_fp_ops).cast::<sys::rte_crypto_fp_ops>();
        // SAFETY: the device's entry, which nobody else writes, and which nobody reads before this returns.
        let entry = unsafe { &mut *table.add(usize::from(device)) };
        stand_in.real = (entry.enqueue_burst, entry.dequeue_burst);
        // SAFETY: the device exists, and has so many queue pairs.
        for index in 0..unsafe { sys::rte_cryptodev_queue_pair_count(device) } {
            // SAFETY: as above.
            let queue_pair = unsafe { *entry.qp.data.add(usize::from(index)) };
            queue_pairs.insert(queue_pair.addr(), name.clone());
        }
        entry.enqueue_burst = Some(enqueue);
        entry.dequeue_burst = Some(dequeue);
    }
    result
}

/// A driver's `enqueue_burst`.
///
/// # Safety
/// As DPDK's.
unsafe extern "C" fn enqueue(
    queue_pair: *mut c_void,
    ops: *mut *mut sys::rte_crypto_op,
    count: u16,
) -> u16 {
    let mut taken = 0;
    opt_out(|| {
        // SAFETY: the caller's.
        let ops = unsafe { std::slice::from_raw_parts_mut(ops, usize::from(count)) };
        for op in ops {
            // SAFETY: the caller's op.
            if unsafe { !take(queue_pair, op) } {
                break;
            }
            taken += 1;
        }
    });
    taken
}

/// # Safety
/// The caller's op.
unsafe fn take(queue_pair: *mut c_void, op: &mut *mut sys::rte_crypto_op) -> bool {
    let mut world = world();
    let World {
        devices,
        sessions,
        queue_pairs,
    } = &mut *world;
    let name = &queue_pairs[&queue_pair.addr()];
    let device = devices.get_mut(name).expect("a stand-in");
    // SAFETY: an asymmetric op.
    let session = unsafe { sys::shim_session_of(*op) };
    let Some(session) = sessions.get(&session.addr()) else {
        // SAFETY: the driver's own, with what it is to be called with.
        return unsafe { device.real.0.expect("it is started")(queue_pair, op, 1) == 1 };
    };
    if session.device != *name {
        device.seen.complaints.push("another's session".to_owned());
    }
    if device.done.len() + device.kept.len() >= device.nature.room {
        return false;
    }
    let answer = device.answers.pop_front().unwrap_or(Answer::Right);
    // SAFETY: an op for this session.
    let computed = unsafe { compute::run(*op, session, device, answer) };
    if !computed || answer == Answer::Failed {
        // SAFETY: the op is ours until it is given back, and starts so.
        unsafe {
            (*op.cast::<sys::shim_op_head>()).status = sys::RTE_CRYPTO_OP_STATUS_ERROR as u8;
        }
    }
    let done = Done {
        op: op.addr(),
        number: device.seen.signatures + device.seen.products,
    };
    match answer {
        Answer::Kept => device.kept.push(done),
        _ => device.done.push(done),
    }
    true
}

/// A driver's `dequeue_burst`.
///
/// # Safety
/// As DPDK's.
unsafe extern "C" fn dequeue(
    queue_pair: *mut c_void,
    ops: *mut *mut sys::rte_crypto_op,
    count: u16,
) -> u16 {
    let mut given = 0;
    opt_out(|| {
        let mut world = world();
        let World {
            devices,
            queue_pairs,
            ..
        } = &mut *world;
        let device = devices
            .get_mut(&queue_pairs[&queue_pair.addr()])
            .expect("a stand-in");
        // SAFETY: the driver's own, with what it is to be called with.
        given = unsafe { device.real.1.expect("it is started")(queue_pair, ops, count) };
        while given < count && !device.done.is_empty() {
            let next = match device.nature.order {
                Order::First => 0,
                Order::Last => device.done.len() - 1,
                Order::Any(seed) => {
                    let mixed = (seed ^ device.done[0].number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                    (mixed >> 33) as usize % device.done.len()
                }
            };
            let done = device.done.remove(next);
            // SAFETY: room for `count`; an op that was taken once and is given back once.
            unsafe { *ops.add(usize::from(given)) = done.op as *mut sys::rte_crypto_op };
            given += 1;
        }
    });
    given
}
