//! For programs that hold libssl's own objects: a key for an `SSL_CTX`, a close for an `SSL`.

use std::ffi::{c_int, c_void};
use std::ptr;
use std::rc::Rc;
use std::sync::Arc;

use spinlane_cryptodev::KeyHandle;
use spinlane_job::Job;
use spinlane_lcore::{Conn, Lcore};

use super::conn::tell;
use super::pem::{Owned, Pem};
use crate::KeyOffload;
use crate::abi;
use crate::error::{ErrorStack, SslError};
use crate::ffi::{self, EVP_PKEY, SSL, SSL_CTX};
use crate::provider::{self, BindError};

pub use super::ctx::library_context;

/// Pauses that unwinding a cancelled call may take at most: one per op of a handshake.
const UNWIND_STEPS: usize = 8;

/// Makes `key` the private key of `ctx`, bound to the provider if devices do its kind. The
/// context takes references of its own. The certificate must have been set before.
///
/// # Errors
/// The key has no private part, is not sound, or is not that of the certificate.
///
/// # Safety
/// Both are live; `key` lives in [`library_context`], and so does `ctx`.
pub unsafe fn use_private_key(
    ctx: *mut SSL_CTX,
    key: *mut EVP_PKEY,
) -> Result<KeyOffload, SslError> {
    let library = library_context()?;
    // SAFETY: by the caller's promise; the result is owned.
    let (used, offload) = match unsafe { provider::bind(key, library) } {
        Ok(bound) => (
            // SAFETY: owned by `bind`'s contract.
            unsafe { Owned::new(bound, ffi::EVP_PKEY_free) },
            KeyOffload::Offloaded,
        ),
        Err(error @ BindError::NotOffloaded { .. }) => {
            tracing::warn!(%error, "private key is not offloaded; its operations run in OpenSSL");
            (None, KeyOffload::Unsupported(error.to_string()))
        }
        Err(error) => return Err(SslError::Provider(error.to_string())),
    };
    let used = used.as_ref().map_or(key, Owned::as_ptr);
    // SAFETY: both live.
    unsafe { use_key(ctx, used) }.map(|()| offload)
}

/// Does what [`use_private_key`] does, with the first private key of `pem`.
///
/// # Errors
/// As for [`use_private_key`], and if `pem` has no private key.
///
/// # Safety
/// `ctx` is live, in [`library_context`].
pub unsafe fn use_private_key_pem(ctx: *mut SSL_CTX, pem: &Pem) -> Result<KeyOffload, SslError> {
    let key = pem.private_key(library_context()?)?;
    // SAFETY: by the caller's promise; the key is live and was loaded there.
    unsafe { use_private_key(ctx, key.as_ptr()) }
}

/// Makes `key`, whose secret is a device's own, the private key of `ctx`. Each connection's lcore must have a
/// queue pair of that device. The certificate must have been set before.
///
/// # Errors
/// The secret is in memory, or the key is not that of the certificate.
///
/// # Safety
/// `ctx` is live, in [`library_context`].
pub unsafe fn use_remote_key(ctx: *mut SSL_CTX, key: &Arc<KeyHandle>) -> Result<(), SslError> {
    // SAFETY: the library context that the provider is loaded in; the result is owned.
    let used = unsafe {
        let bound = provider::bind_remote(key, library_context()?);
        let bound = bound.map_err(|error| SslError::Provider(error.to_string()))?;
        Owned::new(bound, ffi::EVP_PKEY_free)
    };
    let used = used.ok_or_else(|| SslError::call("EVP_PKEY_fromdata"))?;
    // SAFETY: both live.
    unsafe { use_key(ctx, used.as_ptr()) }
}

/// Makes `key` that of `ctx`, which takes a reference of its own.
///
/// # Safety
/// Both are live.
unsafe fn use_key(ctx: *mut SSL_CTX, key: *mut EVP_PKEY) -> Result<(), SslError> {
    drop(ErrorStack::take());
    // SAFETY: by the caller's promise.
    let is_used = unsafe {
        ffi::SSL_CTX_use_PrivateKey(ctx, key) == 1 && ffi::SSL_CTX_check_private_key(ctx) == 1
    };
    match is_used {
        true => Ok(()),
        false => Err(SslError::call("SSL_CTX_use_PrivateKey")),
    }
}

/// Returns the job of the call on `ssl` that is paused or, from within a callback, refused just
/// now. Returns `None` if there is no such call, or if libssl's jobs are not ours.
///
/// # Safety
/// `ssl` is live and of this thread.
pub unsafe fn job_of(ssl: *mut SSL) -> Option<Rc<Job>> {
    let mut status = 0;
    // libssl hands the context out to nobody, but asks it for the status.
    let ctx = abi::context_asked_for(|| {
        // SAFETY: live, by the caller's promise, and a place for the status.
        unsafe { ffi::SSL_get_async_status(ssl, &raw mut status) };
    });
    // SAFETY: null, or that of a live connection.
    unsafe { abi::job_of(ctx) }
}

/// Has `conn` come out of the ready queue of the lcore that is current when a call on `ssl` can go on: when its op has
/// ended, and in its turn after a refusal. Sets SSL_MODE_ASYNC, the callback and its argument.
///
/// # Safety
/// `ssl` is live and of this thread, and has not been in a call; nothing else sets its callback.
pub unsafe fn attach(ssl: *mut SSL, conn: Conn) {
    let arg = ptr::without_provenance_mut(conn.0 as usize);
    // SAFETY: live, by the caller's promise; the callback takes its argument for a number.
    unsafe {
        call_back(ssl, tell_current, arg);
        run_as_jobs(ssl);
    }
}

/// As SSL_async_callback_fn of SSL_set_async_callback(3).
type TellFn = extern "C" fn(*mut SSL, *mut c_void) -> c_int;

/// Has `callback` called with `arg` for the ops of `ssl`.
///
/// # Safety
/// `ssl` is live and of this thread; `callback` may be called with `arg` as long as it lives.
pub(super) unsafe fn call_back(ssl: *mut SSL, callback: TellFn, arg: *mut c_void) {
    // SAFETY: by the caller's promise.
    unsafe {
        ffi::SSL_set_async_callback(ssl, Some(callback));
        ffi::SSL_set_async_callback_arg(ssl, arg);
    }
}

/// Has libssl run the calls on `ssl` as jobs, and go on with one that is paused (SSL_MODE_ASYNC).
///
/// # Safety
/// `ssl` is live and of this thread.
pub(super) unsafe fn run_as_jobs(ssl: *mut SSL) {
    let (mode, no_arg) = (ffi::SSL_MODE_ASYNC, ptr::null_mut());
    // SAFETY: by the caller's promise.
    unsafe { ffi::SSL_ctrl(ssl, ffi::SSL_CTRL_MODE, mode, no_arg) };
}

/// The callback of [`attach`]: made within a poll, or on the job that was refused.
extern "C" fn tell_current(ssl: *mut SSL, arg: *mut c_void) -> c_int {
    // At thread exit, when there is none, nobody polls any more.
    if let Some(lcore) = Lcore::current() {
        tell(ssl, &lcore, Conn(arg.addr() as u64).into());
    }
    1
}

/// Calls [`cancel`], then SSL_free(3).
///
/// # Safety
/// `ssl` is live, of this thread, and the caller gives a reference to it back.
pub unsafe fn close(ssl: *mut SSL) {
    // SAFETY: by the caller's promise.
    unsafe {
        cancel(ssl);
        ffi::SSL_free(ssl);
        ffi::ERR_clear_error();
    }
}

/// Unwinds a call that is paused on a job. Resumes the call once more, cancelled, so that libssl
/// goes back by its own error path and frees what it holds. The op in flight becomes nobody's, and
/// no callback is made for the connection from here on. Does nothing to a connection that is not
/// paused.
///
/// # Safety
/// `ssl` is live and of this thread.
pub unsafe fn cancel(ssl: *mut SSL) {
    // SAFETY: live; NULL takes the callback away from jobs yet to come. The paused one is
    // cancelled.
    unsafe { ffi::SSL_set_async_callback(ssl, None) };
    for _ in 0..UNWIND_STEPS {
        // SAFETY: live; for all of this.
        unsafe {
            if ffi::SSL_waiting_for_async(ssl) == 0 {
                break;
            }
            run_as_jobs(ssl);
            ffi::ERR_clear_error();
            let mut byte = 0_u8;
            spinlane_job::cancelling(|| match ffi::SSL_in_init(ssl) {
                0 => ffi::SSL_peek(ssl, ptr::from_mut(&mut byte).cast(), 1),
                _ => ffi::SSL_do_handshake(ssl),
            });
        }
    }
    // SAFETY: this thread's queue.
    unsafe { ffi::ERR_clear_error() };
}
