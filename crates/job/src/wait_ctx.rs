//! The session that jobs run under: whom to notify, status, keyed file descriptors.
//!
//! Order of effects, as in OpenSSL 3.0:
//! - descriptors are listed newest first;
//! - a descriptor cleared before anybody heard of it vanishes at once, an older one is
//!   reported as deleted until the job's next pause has returned;
//! - the pause's return (`forget_changes`) forgets both lists;
//! - a cleanup routine runs when the context is freed, and not for cleared descriptors.

use std::cell::RefCell;
use std::ffi::c_void;
use std::os::fd::RawFd;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicUsize, Ordering::Relaxed};

use crate::job::Job;
use crate::local;
use crate::notify::{Foreign, Notify};
use crate::status::Status;

/// Cleanup routine of a descriptor: context, key, descriptor, custom data.
pub type CleanupFn = extern "C" fn(*const WaitCtx, *const c_void, RawFd, *mut c_void);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Change {
    Added,
    None,
    Deleted,
}

#[derive(Clone, Copy)]
struct WaitFd {
    key: *const c_void,
    fd: RawFd,
    custom_data: *mut c_void,
    cleanup: Option<CleanupFn>,
    change: Change,
}

/// `ASYNC_WAIT_CTX`. Shared by reference count: an op in flight may outlive the session it
/// was submitted under, and must then find it [freed](WaitCtx::free) rather than gone.
///
/// While no job runs under it, it may go from thread to thread, as an SSL does. From a job's start
/// to its end it is that job's thread's: others may read it and set its status, as an engine's
/// thread does, and free it ([`WaitCtx::free_elsewhere`]).
#[derive(Default)]
pub struct WaitCtx {
    /// The [`Status`] of the last submission.
    status: AtomicI32,
    notify: RefCell<Option<Notify>>,
    /// Descriptors, oldest first.
    fds: RefCell<Vec<WaitFd>>,
    freed: AtomicBool,
    /// [Name](local::name) of the thread whose job runs under this context, or 0.
    owner: AtomicUsize,
    /// The job that runs under this context, from its start to its end.
    job: RefCell<Option<Rc<Job>>>,
}

impl std::fmt::Debug for WaitCtx {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WaitCtx")
            .field("status", &self.status)
            .field("notify", &self.notify)
            .finish_non_exhaustive()
    }
}

impl WaitCtx {
    /// Makes a context as ASYNC_WAIT_CTX_new(3) does: no descriptors, nobody to notify,
    /// [`Status::UNSUPPORTED`].
    pub fn new() -> Rc<Self> {
        Rc::default()
    }

    /// ASYNC_WAIT_CTX_free(3): runs the cleanup routines of all descriptors not cleared; no
    /// callback is made from here on. Returns the job that was still running under it.
    pub fn free(self: &Rc<Self>) -> Option<Rc<Job>> {
        self.free_fds();
        self.job.take()
    }

    /// Returns `true` if a job of another thread runs under this context.
    pub fn is_elsewhere(&self) -> bool {
        let owner = self.owner.load(Relaxed);
        owner != 0 && owner != local::name()
    }

    /// [`WaitCtx::free`] while it [is elsewhere](Self::is_elsewhere): the job under it is ended, as
    /// by [`Job::abandon`], by its own thread, when that starts its next job or ends. A callback
    /// that this thread is making just now goes on.
    ///
    /// # Safety
    /// As for [`Job::abandon`], the first point excepted; and this is the caller's only reference.
    #[allow(unsafe_code)]
    pub unsafe fn free_elsewhere(self: Rc<Self>) {
        self.free_fds();
        // SAFETY: the job's thread changes this at the job's start and end, which do not come any
        // more: a job is restarted through what is being freed. Nothing but this reads it.
        let job = unsafe { &*self.job.as_ptr() };
        match job.as_ref().map(|job| std::ptr::from_ref(job.letters())) {
            // SAFETY: the letters live as long as the job, which keeps itself alive; the reference
            // is given away, by the caller's promise the only one that is.
            Some(letters) => unsafe { (*letters).post(self) },
            None => std::mem::forget(self),
        }
    }

    fn free_fds(self: &Rc<Self>) {
        self.freed.store(true, Relaxed);
        for entry in self.fds.take().into_iter().rev() {
            if let (Some(cleanup), true) = (entry.cleanup, entry.change != Change::Deleted) {
                cleanup(Rc::as_ptr(self), entry.key, entry.fd, entry.custom_data);
            }
        }
    }

    /// Returns the status of the last submission.
    pub fn status(&self) -> Status {
        Status(self.status.load(Relaxed))
    }

    /// Sets the status of the last submission.
    pub fn set_status(&self, status: Status) {
        self.status.store(status.0, Relaxed);
    }

    /// Returns whom to notify when an op of this session has ended; `None` once the session is
    /// freed.
    pub fn notify(&self) -> Option<Notify> {
        let notify = self.notify.borrow().clone();
        notify.filter(|_| !self.freed.load(Relaxed))
    }

    /// Sets whom to notify; with `None` nobody is notified.
    pub fn set_notify(&self, notify: Option<Notify>) {
        self.notify.replace(notify);
    }

    /// Returns `true` if there is somebody to notify.
    pub fn notifies(&self) -> bool {
        self.notify.borrow().is_some() && !self.freed.load(Relaxed)
    }

    /// Returns the notification of another language, if one was set. Any thread may ask.
    pub fn foreign(&self) -> Option<Foreign> {
        let foreign = peek(&self.notify, |notify| match notify {
            Some(Notify::Foreign(foreign)) => Some(*foreign),
            _ => None,
        });
        foreign.filter(|_| !self.freed.load(Relaxed))
    }

    /// Associates `fd` with `key`, as ASYNC_WAIT_CTX_set_wait_fd(3) does.
    pub fn set_wait_fd(
        &self,
        key: *const c_void,
        fd: RawFd,
        custom_data: *mut c_void,
        cleanup: Option<CleanupFn>,
    ) {
        let change = Change::Added;
        self.fds.borrow_mut().push(WaitFd {
            key,
            fd,
            custom_data,
            cleanup,
            change,
        });
        self.tell_job();
    }

    /// Returns descriptor and custom data of `key`, as ASYNC_WAIT_CTX_get_fd(3) does.
    pub fn fd(&self, key: *const c_void) -> Option<(RawFd, *mut c_void)> {
        self.newest_first()
            .find(|entry| entry.key == key && entry.change != Change::Deleted)
            .map(|entry| (entry.fd, entry.custom_data))
    }

    /// Visits every descriptor, newest first, as ASYNC_WAIT_CTX_get_all_fds(3) lists them.
    pub fn for_each_fd(&self, visit: impl FnMut(RawFd)) {
        self.visit(|change| change != Change::Deleted, visit);
    }

    /// Visits the added descriptors, newest first, as ASYNC_WAIT_CTX_get_changed_fds(3) lists them.
    pub fn for_each_added_fd(&self, visit: impl FnMut(RawFd)) {
        self.visit(|change| change == Change::Added, visit);
    }

    /// Visits the deleted descriptors, newest first, as ASYNC_WAIT_CTX_get_changed_fds(3) lists
    /// them.
    pub fn for_each_deleted_fd(&self, visit: impl FnMut(RawFd)) {
        self.visit(|change| change == Change::Deleted, visit);
    }

    /// ASYNC_WAIT_CTX_clear_fd(3): takes the association of `key` away without running its
    /// cleanup routine. Returns whether there was one.
    pub fn clear_fd(&self, key: *const c_void) -> bool {
        let mut fds = self.fds.borrow_mut();
        let newest = fds
            .iter()
            .rposition(|entry| entry.key == key && entry.change != Change::Deleted);
        let Some(position) = newest else { return false };
        if fds[position].change == Change::Added {
            fds.remove(position);
        } else {
            fds[position].change = Change::Deleted;
            self.tell_job();
        }
        true
    }

    /// Forgets the changes that were reported: the job's pause returns.
    pub(crate) fn forget_changes(&self) {
        let mut fds = self.fds.borrow_mut();
        fds.retain(|entry| entry.change != Change::Deleted);
        for entry in fds.iter_mut() {
            entry.change = Change::None;
        }
    }

    /// Notes that the job's next resume has changes to forget.
    fn tell_job(&self) {
        if let Some(job) = &*self.job.borrow() {
            job.note_changes();
        }
    }

    /// Returns the job that runs under this context.
    pub fn job(&self) -> Option<Rc<Job>> {
        self.job.borrow().clone()
    }

    /// Returns all entries, newest first. Each is a copy: whoever looks at one may change the list.
    fn newest_first(&self) -> impl Iterator<Item = WaitFd> {
        let len = peek(&self.fds, Vec::len);
        let entry = |index: usize| peek(&self.fds, |fds| fds.get(index).copied());
        (0..len).rev().filter_map(entry)
    }

    pub(crate) fn set_job(&self, job: Option<Rc<Job>>) {
        let owner = job.as_ref().map_or(0, |job| job.thread());
        self.owner.store(owner, Relaxed);
        *self.job.borrow_mut() = job;
    }

    fn visit(&self, wanted: impl Fn(Change) -> bool, mut visit: impl FnMut(RawFd)) {
        for entry in self.newest_first() {
            if wanted(entry.change) {
                visit(entry.fd);
            }
        }
    }
}

/// Reads `place`. Counts no borrow, which would be a write: several threads may read at a time, and a job's
/// switch need not.
#[allow(unsafe_code)]
pub(crate) fn peek<T, R>(place: &RefCell<T>, read: impl FnOnce(&T) -> R) -> R {
    // SAFETY: nothing changes the place before `read` has returned. Of the reads in this crate one calls
    // out, that of a job's fiber by `Job::switch`, and as long as a job runs its fiber stays. While other
    // threads may read, nobody changes what they read ([`WaitCtx`]).
    read(unsafe { &*place.as_ptr() })
}
