//! A queue pair of a device, and the objects of DPDK's that stand for ops in it.

use std::mem::ManuallyDrop;
use std::ptr::{self, NonNull};
use std::sync::Arc;

use dpdk_sys as sys;

use super::{QueuePairId, QueuePairs, Running, errno, unique_name};

/// Objects per call of the driver.
pub(crate) const BURST: usize = 64;

pub(super) const SUCCESS: u8 = sys::RTE_CRYPTO_OP_STATUS_SUCCESS as u8;
pub(super) const NOT_PROCESSED: u8 = sys::RTE_CRYPTO_OP_STATUS_NOT_PROCESSED as u8;

/// A DPDK function that takes ops of one kind from a pool.
pub(super) type Alloc =
    unsafe extern "C" fn(*mut sys::rte_mempool, *mut *mut sys::rte_crypto_op, u16) -> u16;

/// What ops of one kind are made of.
pub(super) struct Objects {
    /// Begins the pool's name.
    pub(super) name: &'static str,
    /// `RTE_CRYPTO_OP_TYPE_…`.
    pub(super) kind: u32,
    /// Bytes of ours behind each.
    pub(super) private_len: u16,
    pub(super) alloc: Alloc,
    pub(super) count: u16,
}

/// What came of handing staged objects to the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Handed {
    /// It took so many, which may be all.
    Accepted(usize),
    /// It took so many, and never will the next one, which is no longer staged.
    Rejected(usize, *mut sys::rte_crypto_op),
    /// It is stopped or gone.
    Stopped,
}

/// A queue pair that nobody else uses, and its objects: taken from their pool once, when it is opened,
/// and given back when it is closed. Where the device has kept some, all of it stays for ever.
pub(super) struct RawPair {
    /// Goes home when this is dropped.
    id: ManuallyDrop<QueuePairId>,
    home: Arc<QueuePairs>,
    _running: Running,
    pool: ManuallyDrop<Pool>,
    objects: Box<[NonNull<sys::rte_crypto_op>]>,
    ring: Ring,
    /// Objects that their owner has, neither idle nor staged.
    apart: usize,
}

impl RawPair {
    /// A queue pair from `home`, to which it returns when this is dropped. `init` gets each object, which is
    /// ours and has the private data that it was to have.
    ///
    /// # Errors
    /// `None` if there is none left, or `rte_errno`: memory is used up, say.
    pub(super) fn new(
        running: &Running,
        home: &Arc<QueuePairs>,
        of: &Objects,
        init: impl Fn(NonNull<sys::rte_crypto_op>),
    ) -> Result<Self, Option<i32>> {
        let name = unique_name(of.name);
        let count = usize::from(of.count);
        // SAFETY: the name is copied; EAL runs.
        let pool = unsafe {
            sys::rte_crypto_op_pool_create(
                name.as_ptr(),
                of.kind,
                u32::from(of.count),
                0,
                of.private_len,
                home.device().socket(running),
            )
        };
        let pool = Pool(NonNull::new(pool).ok_or_else(|| Some(errno()))?);
        let mut taken = vec![ptr::null_mut(); count];
        // SAFETY: the pool has `count` objects, and `taken` room for them.
        let got = unsafe { (of.alloc)(pool.0.as_ptr(), taken.as_mut_ptr(), of.count) };
        let objects: Box<[_]> = taken.into_iter().filter_map(NonNull::new).collect();
        if got != of.count || objects.len() != count {
            return Err(Some(libc::ENOMEM));
        }
        objects.iter().copied().for_each(init);
        let id = home.take().ok_or(None)?;
        Ok(Self {
            id: ManuallyDrop::new(id),
            home: Arc::clone(home),
            _running: running.clone(),
            pool: ManuallyDrop::new(pool),
            ring: Ring::new(&objects),
            objects,
            apart: 0,
        })
    }

    pub(super) fn objects(&self) -> &[NonNull<sys::rte_crypto_op>] {
        &self.objects
    }

    /// Objects that the device has.
    #[inline]
    pub(super) fn with_device(&self) -> usize {
        self.ring.sent - self.ring.back - self.apart
    }

    /// Numbers of the device and of the queue pair.
    #[cfg(feature = "null")]
    pub(super) fn numbers(&self) -> (u8, u16) {
        (self.id.device.id, self.id.index)
    }

    /// Objects that [`take`](Self::take) has yet.
    #[inline]
    pub(super) fn idle(&self) -> usize {
        self.ring.idle()
    }

    /// Objects that wait to be handed to the device.
    #[inline]
    pub(super) fn staged(&self) -> usize {
        self.ring.staged()
    }

    /// All of them, the next one first.
    #[inline]
    pub(super) fn all_staged(&self) -> impl Iterator<Item = *mut sys::rte_crypto_op> {
        self.ring.all_staged()
    }

    /// An idle object, which a [`submit`](Self::submit) to come hands over.
    ///
    /// # Safety
    /// Before that, it is set for a session of this device that lives until it is back; from then until
    /// it is back nobody else looks at it or at the memory it points to.
    #[inline]
    pub(super) unsafe fn take(&mut self) -> Option<*mut sys::rte_crypto_op> {
        self.ring.take()
    }

    /// Takes back the object that was staged first. It is its owner's until that
    /// [puts it back](Self::put_back).
    pub(super) fn unstage(&mut self) -> Option<*mut sys::rte_crypto_op> {
        let object = self.all_staged().next()?;
        self.ring.sent += 1;
        self.apart += 1;
        Some(object)
    }

    /// Hands at most `max` staged objects to the device, one burst at most.
    #[inline]
    pub(super) fn submit(&mut self, max: usize) -> Handed {
        let staged = self.ring.staged_run(max.min(BURST));
        let count = staged.len();
        // SAFETY: staged objects are set and not with the device.
        let taken = unsafe { self.id.enqueue(staged.as_mut_ptr(), count as u16) };
        if usize::from(taken) == count {
            self.ring.sent += count;
            return Handed::Accepted(count);
        }
        self.partly_submitted(usize::from(taken).min(count))
    }

    #[cold]
    fn partly_submitted(&mut self, mut taken: usize) -> Handed {
        if taken == 0 {
            let next = self.ring.staged_run(1);
            // SAFETY: as in `submit`.
            let again = || unsafe { self.id.enqueue(next.as_mut_ptr(), next.len() as u16) };
            match unless_stopped(again) {
                Some(one) => taken = one.min(1).into(),
                None => return Handed::Stopped,
            }
        }
        self.ring.sent += taken;
        let is_bad = |&next: &*mut sys::rte_crypto_op| {
            // SAFETY: not taken, it is still ours.
            !matches!(unsafe { status_of(next) }, SUCCESS | NOT_PROCESSED)
        };
        let next = self.all_staged().next().filter(is_bad);
        match next.and_then(|_| self.unstage()) {
            Some(bad) => Handed::Rejected(taken, bad),
            None => Handed::Accepted(taken),
        }
    }

    /// [`submit`](Self::submit) of all that is staged and [`collect`](Self::collect), for a driver that computes
    /// here; returns what it has finished at once, which is all, mostly. The rest is for those two.
    #[inline]
    pub(super) fn compute(&mut self) -> &[*mut sys::rte_crypto_op] {
        let Self { id, ring, .. } = self;
        // Then the device has nothing.
        let Some(staged) = ring.slots.get_mut(..ring.taken).filter(|_| ring.sent == 0) else {
            return &[];
        };
        let count = staged.len();
        // SAFETY: staged objects are set and not with the device.
        let taken = unsafe { id.enqueue(staged.as_mut_ptr(), count as u16) };
        ring.sent = usize::from(taken).min(count);
        if ring.sent < count {
            return &[];
        }
        // SAFETY: where they lay there is room for them.
        let returned = unsafe { id.dequeue(staged.as_mut_ptr(), count as u16) };
        let returned = usize::from(returned).min(count);
        self.apart = returned;
        &staged[..returned]
    }

    /// Takes at most `max` objects back, one burst at most; `None` if the device is stopped. They are their
    /// owner's until that [puts them back](Self::put_back_all).
    #[inline]
    pub(super) fn collect(&mut self, max: usize) -> Option<&[*mut sys::rte_crypto_op]> {
        let max = max.min(BURST).min(self.with_device());
        let Self {
            id, ring, apart, ..
        } = self;
        let room = ring.vacant_run(max);
        // SAFETY: room for so many objects.
        let mut dequeue = || unsafe { id.dequeue(room.as_mut_ptr(), room.len() as u16) };
        let mut count = dequeue();
        if count == 0 {
            count = unless_stopped(dequeue)?;
        }
        let count = usize::from(count).min(room.len());
        *apart += count;
        Some(&room[..count])
    }

    /// `object`, which was unstaged, rejected or collected, is idle again.
    #[inline]
    pub(super) fn put_back(&mut self, object: *mut sys::rte_crypto_op) {
        self.apart -= 1;
        self.ring.put_back(object);
    }

    /// All `count` that the last [`collect`](Self::collect) returned are idle again.
    #[inline]
    pub(super) fn put_back_all(&mut self, count: usize) {
        self.apart -= count;
        self.ring.put_back_all(count);
    }
}

/// What a burst comes to that came to 0; `None` if that is because the device is stopped, which
/// `rte_errno` says. Asked `again` where that may be what another call left there.
#[cold]
fn unless_stopped(again: impl FnOnce() -> u16) -> Option<u16> {
    let is_stopped = || errno() == libc::ENOTSUP;
    if !is_stopped() {
        return Some(0);
    }
    // SAFETY: sets a thread-local number.
    unsafe { sys::shim_clear_errno() };
    let count = again();
    (count > 0 || !is_stopped()).then_some(count)
}

/// The objects that the device does not have, each in a slot; bursts are read and written where they lie.
///
/// ```text
///   │ vacant, the device's or the owner's │ staged │ idle │ vacant …
///   ╰ back                                ╰ sent   ╰ taken
/// ```
/// Each position is below twice the number of slots, none is passed by the one before it, and slot `n` follows
/// the last one again. When all objects are idle it begins at the front: few ops keep to little memory.
struct Ring {
    slots: Box<[*mut sys::rte_crypto_op]>,
    back: usize,
    sent: usize,
    taken: usize,
}

impl Ring {
    fn new(objects: &[NonNull<sys::rte_crypto_op>]) -> Self {
        Self {
            slots: objects.iter().map(|object| object.as_ptr()).collect(),
            back: 0,
            sent: 0,
            taken: 0,
        }
    }

    #[inline]
    fn idle(&self) -> usize {
        self.slots.len() - (self.taken - self.back)
    }

    #[inline]
    fn staged(&self) -> usize {
        self.taken - self.sent
    }

    #[inline]
    fn take(&mut self) -> Option<*mut sys::rte_crypto_op> {
        let object = match self.slots.get(self.taken) {
            Some(object) => *object, // idle, as no object is taken twice before the end
            None => self.wrapped_idle()?,
        };
        self.taken += 1;
        Some(object)
    }

    #[cold]
    fn wrapped_idle(&self) -> Option<*mut sys::rte_crypto_op> {
        let at = self.taken - self.slots.len();
        (at < self.back).then(|| self.slots[at])
    }

    fn all_staged(&self) -> impl Iterator<Item = *mut sys::rte_crypto_op> {
        (self.sent..self.taken).map(|at| self.slots[self.slot(at)])
    }

    /// The first `max` staged ones that lie in one piece.
    #[inline]
    fn staged_run(&mut self, max: usize) -> &mut [*mut sys::rte_crypto_op] {
        self.run(self.sent, self.staged().min(max))
    }

    /// The first `max` vacant slots that lie in one piece.
    #[inline]
    fn vacant_run(&mut self, max: usize) -> &mut [*mut sys::rte_crypto_op] {
        self.run(self.back, (self.sent - self.back).min(max))
    }

    /// `count` slots from `position` on, or as many as there are before the end.
    #[inline]
    fn run(&mut self, position: usize, count: usize) -> &mut [*mut sys::rte_crypto_op] {
        let (_, run) = self.slots.split_at_mut(self.slot(position));
        let end = run.len().min(count);
        &mut run[..end]
    }

    #[inline]
    fn put_back(&mut self, object: *mut sys::rte_crypto_op) {
        let slot = self.slot(self.back);
        self.slots[slot] = object;
        self.put_back_all(1);
    }

    /// The first `count` vacant slots have idle objects.
    #[inline]
    fn put_back_all(&mut self, count: usize) {
        self.back += count;
        if self.back == self.taken {
            (self.back, self.sent, self.taken) = (0, 0, 0);
        } else if self.back >= self.slots.len() {
            for position in [&mut self.back, &mut self.sent, &mut self.taken] {
                *position -= self.slots.len();
            }
        }
    }

    #[inline]
    fn slot(&self, position: usize) -> usize {
        match position.checked_sub(self.slots.len()) {
            Some(wrapped) => wrapped,
            None => position,
        }
    }
}

impl Drop for RawPair {
    fn drop(&mut self) {
        if self.with_device() > 0 {
            // The device may write to them still: their memory stays, and nobody else gets the queue
            // pair. Its owner says so aloud.
            return;
        }
        let mut objects: Vec<_> = self.objects.iter().map(|object| object.as_ptr()).collect();
        // SAFETY: every object is ours, and used no more.
        unsafe { sys::shim_op_free(objects.as_mut_ptr(), objects.len() as u16) };
        // SAFETY: dropped once, here.
        unsafe { ManuallyDrop::drop(&mut self.pool) };
        // SAFETY: taken once, here.
        self.home.put(unsafe { ManuallyDrop::take(&mut self.id) });
    }
}

/// # Safety
/// `object` is one of ours and not with the device.
#[inline]
pub(super) unsafe fn status_of(object: *mut sys::rte_crypto_op) -> u8 {
    // SAFETY: an op starts so, as the shim checks when it is compiled.
    unsafe { (*object.cast::<sys::shim_op_head>()).status }
}

/// A pool of objects, all of which are back when it goes.
struct Pool(NonNull<sys::rte_mempool>);

impl Drop for Pool {
    fn drop(&mut self) {
        // SAFETY: ours; nobody has an op of it.
        unsafe { sys::rte_mempool_free(self.0.as_ptr()) }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Take,
        Submit(usize),
        Unstage,
        /// The device gives so many back, the last one first.
        Collect(usize),
        /// The owner puts back what it had longest.
        PutBack,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => Just(Step::Take),
            2 => (0..9_usize).prop_map(Step::Submit),
            1 => Just(Step::Unstage),
            2 => (0..9_usize).prop_map(Step::Collect),
            3 => Just(Step::PutBack),
        ]
    }

    proptest! {
        /// Whatever is done in whatever order: no object is in two places, none is lost, and the device gets them
        /// in the order they were taken.
        #[test]
        fn every_object_is_in_one_place(steps in prop::collection::vec(step(), 0..200)) {
            const COUNT: usize = 7;
            let objects: Vec<_> = (1..=COUNT)
                .filter_map(|address| NonNull::new(ptr::without_provenance_mut(address * 64)))
                .collect();
            let mut ring = Ring::new(&objects);
            let (mut staged, mut device, mut apart) = (VecDeque::new(), Vec::new(), VecDeque::new());
            for step in steps {
                match step {
                    Step::Take => {
                        let used = staged.len() + device.len() + apart.len();
                        let taken = ring.take();
                        prop_assert_eq!(taken.is_some(), used < COUNT);
                        staged.extend(taken);
                    }
                    Step::Submit(max) => {
                        let run = ring.staged_run(max);
                        let count = run.len();
                        prop_assert_eq!(count == 0, staged.is_empty() || max == 0);
                        device.extend_from_slice(run);
                        for object in run {
                            prop_assert_eq!(Some(*object), staged.pop_front());
                        }
                        ring.sent += count;
                    }
                    Step::Unstage => {
                        let first = ring.all_staged().next();
                        prop_assert_eq!(first, staged.pop_front());
                        ring.sent += usize::from(first.is_some());
                        apart.extend(first);
                    }
                    Step::Collect(max) => {
                        let room = ring.vacant_run(max.min(device.len()));
                        for place in room {
                            *place = device.pop().expect("no more room than asked for");
                            apart.push_back(*place);
                        }
                    }
                    Step::PutBack => {
                        if let Some(object) = apart.pop_front() {
                            ring.put_back(object);
                        }
                    }
                }
                prop_assert!(ring.all_staged().eq(staged.iter().copied()));
                prop_assert_eq!(ring.idle(), COUNT - staged.len() - device.len() - apart.len());
                let used = staged.iter().chain(&device).chain(&apart);
                let mut all: Vec<_> = used.copied().collect();
                all.extend((ring.taken..ring.back + COUNT).map(|at| ring.slots[at % COUNT]));
                all.sort_unstable();
                prop_assert!(all.iter().eq(objects.iter().map(|object| object.as_ptr()).collect::<Vec<_>>().iter()));
            }
        }
    }
}
