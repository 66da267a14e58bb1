//! `spinlane_conn`: the rustls front-end for C, over buffers.

mod agreed;
mod config;
mod data;
mod name;
mod settings;
mod unverified;

use std::cell::{Cell, Ref, RefCell, RefMut};
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::ptr;
use std::rc::Rc;

use spinlane::job::{Foreign, Notify, WaitCtx, thread_name};
use spinlane::lcore::{Conn, Lcore};
use spinlane::rustls::rustls::pki_types::ServerName;
use spinlane::rustls::{Connection, Error};

use self::config::Config;
use self::settings::Built;
use crate::device::text;
use crate::error::{Failure, check, failure, guard, null};
use crate::lcore::{ThreadLcore, named, of};

/// As SSL_async_callback_fn of SSL_set_async_callback(3).
type CallbackFn = extern "C" fn(*mut Handle, *mut c_void) -> c_int;

/// `spinlane_conn`: a connection, of the thread that made it.
pub struct Handle {
    thread: usize,
    /// Lent to the call that runs: whoever is called back from within it gets an error.
    connection: RefCell<Connection>,
    /// Where the status is, while the handshake lasts: callbacks ask for it.
    wait_ctx: RefCell<Option<Rc<WaitCtx>>>,
    /// Where it is attached, and under which name.
    attached: RefCell<Option<(Lcore, Conn)>>,
    callback: Cell<Option<CallbackFn>>,
    argument: Cell<*mut c_void>,
    is_server: bool,
    server_name: RefCell<Option<Box<str>>>,
    /// What ended it.
    error: RefCell<Option<(Error, CString)>>,
}

impl Handle {
    fn new(connection: Connection, is_server: bool) -> Box<Self> {
        Box::new(Self {
            thread: thread_name(),
            wait_ctx: RefCell::new(connection.wait_ctx()),
            connection: RefCell::new(connection),
            attached: RefCell::default(),
            callback: Cell::new(None),
            argument: Cell::new(ptr::null_mut()),
            is_server,
            server_name: RefCell::default(),
            error: RefCell::default(),
        })
    }

    /// # Safety
    /// `conn` is NULL or live.
    unsafe fn of<'a>(conn: *const Self) -> Result<&'a Self, Failure> {
        // SAFETY: by the caller's promise. Another thread reads what never changes.
        let handle = unsafe { conn.as_ref() }.ok_or_else(|| null("conn"))?;
        if handle.thread != thread_name() {
            return Err(failure(
                "the connection is another thread's; use it on the thread that created it",
            ));
        }
        Ok(handle)
    }

    fn connection(&self) -> Result<Ref<'_, Connection>, Failure> {
        self.connection.try_borrow().map_err(|_| within())
    }

    fn connection_mut(&self) -> Result<RefMut<'_, Connection>, Failure> {
        self.connection.try_borrow_mut().map_err(|_| within())
    }

    /// Tells the connection where it is attached, and whom to notify.
    fn attach(&self, connection: &mut Connection) {
        if let Some((lcore, name)) = &*self.attached.borrow() {
            let notify = match self.callback.get() {
                None => Notify::from(*name),
                Some(_) => {
                    Foreign::new(call_back, ptr::from_ref(self).cast(), ptr::null_mut()).into()
                }
            };
            connection.attach(lcore, notify);
        }
    }

    /// Notes after a call what it has brought.
    fn note(&self, connection: &Connection) {
        if self.is_server
            && let Some(name) = name::asked_for()
        {
            self.server_name.replace(Some(name));
        }
        if connection.is_established() {
            self.wait_ctx.replace(None);
        }
    }

    /// The failure that `error` is, which the connection keeps.
    fn fail(&self, error: Error) -> Failure {
        let text = error.to_string();
        let mut kept = self.error.borrow_mut();
        if kept.is_none() && error != Error::Nested {
            *kept = Some((
                error,
                CString::new(text.replace('\0', " ")).unwrap_or_default(),
            ));
        }
        failure(text)
    }
}

/// Answers a question of a connection; with `otherwise` where it cannot be asked.
///
/// # Safety
/// `conn` is NULL or live.
unsafe fn ask<T>(
    conn: *const Handle,
    otherwise: T,
    answer: impl FnOnce(&Connection) -> Result<T, Failure>,
) -> T {
    guard(otherwise, || {
        // SAFETY: by the caller's promise.
        let handle = unsafe { Handle::of(conn) }?;
        let connection = handle.connection()?;
        answer(&connection)
    })
}

fn within() -> Failure {
    failure("the connection is used from within a call on it; let that return first")
}

/// Makes the callback of a connection.
fn call_back(handle: *const (), _: *mut ()) {
    // SAFETY: from `Handle::attach`; a connection that is dropped takes its notification back.
    let handle = unsafe { &*handle.cast::<Handle>() };
    if let Some(callback) = handle.callback.get() {
        // What it returns is for nobody (SSL_set_async_callback(3) gives it no meaning). `handle` is not used behind
        // it: it may have been freed.
        let _ = callback(ptr::from_ref(handle).cast_mut(), handle.argument.get());
    }
}

/// # Safety
/// `from` is NULL or readable for `len` bytes, for `'a`.
unsafe fn bytes<'a>(from: *const c_void, len: usize, argument: &str) -> Result<&'a [u8], Failure> {
    if len == 0 {
        return Ok(&[]);
    }
    if from.is_null() {
        return Err(null(argument));
    }
    longest(len, argument)?;
    // SAFETY: not NULL, so readable by the caller's promise, and no longer than memory is.
    Ok(unsafe { std::slice::from_raw_parts(from.cast(), len) })
}

/// # Safety
/// `to` is NULL or writable for `len` bytes, for `'a`, and nothing else is written there meanwhile.
unsafe fn bytes_mut<'a>(
    to: *mut c_void,
    len: usize,
    argument: &str,
) -> Result<&'a mut [u8], Failure> {
    if len == 0 {
        return Ok(&mut []);
    }
    if to.is_null() {
        return Err(null(argument));
    }
    longest(len, argument)?;
    // SAFETY: not NULL, so writable by the caller's promise, and no longer than memory is.
    Ok(unsafe { std::slice::from_raw_parts_mut(to.cast(), len) })
}

/// Copies `found` and a zero behind it into `to` as far as that goes; its length without that.
///
/// # Safety
/// `to` is NULL or writable for `size` bytes.
pub(crate) unsafe fn copy_text(
    found: Option<&[u8]>,
    to: *mut c_char,
    size: usize,
) -> Result<usize, Failure> {
    let found = found.unwrap_or_default();
    // SAFETY: by the caller's promise.
    let to = unsafe { bytes_mut(to.cast(), size, "to") }?;
    if let Some(room) = size.checked_sub(1) {
        let count = room.min(found.len());
        to[..count].copy_from_slice(&found[..count]);
        to[count] = 0;
    }
    Ok(found.len())
}

fn longest(len: usize, argument: &str) -> Result<(), Failure> {
    match isize::try_from(len) {
        Ok(_) => Ok(()),
        Err(_) => Err(failure(format!(
            "{argument} cannot have {len} bytes; is the length negative?"
        ))),
    }
}

/// Makes a connection from settings: a server's, or a client's to `server_name`.
///
/// # Safety
/// `config` is NULL or live; `server_name` is NULL or a terminated string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spinlane_conn_create(
    config: *mut Config,
    server_name: *const c_char,
) -> *mut Handle {
    guard(ptr::null_mut(), || {
        // SAFETY: by the contract.
        let (mut settings, server_name) = unsafe { (Config::lock(config)?, text(server_name)) };
        let (mut connection, is_server) = match settings.build()? {
            Built::Server(config) if server_name.is_none() => (Connection::server(config)?, true),
            Built::Server(_) => {
                return Err(failure("server_name is a client's; give NULL for a server"));
            }
            Built::Client(config) => {
                let name = server_name.ok_or_else(|| null("server_name"))?;
                (Connection::client(config, peer(name)?), false)
            }
        };
        connection.set_max_input(settings.max_input);
        Ok(Box::into_raw(Handle::new(connection, is_server)))
    })
}

fn peer(name: &CStr) -> Result<ServerName<'static>, Failure> {
    let utf8 = name.to_str().unwrap_or_default();
    let parsed = ServerName::try_from(utf8.to_owned());
    parsed.map_err(|_| {
        failure(format!(
            "server_name {name:?} is neither a DNS name nor an IP address"
        ))
    })
}

/// Frees a connection, wherever it is.
///
/// # Safety
/// `conn` is NULL or live, and used no more if this returns 1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spinlane_conn_free(conn: *mut Handle) -> c_int {
    check(|| {
        if conn.is_null() {
            return Ok(());
        }
        // SAFETY: by the contract.
        let handle = unsafe { Handle::of(conn) }?;
        drop(handle.connection_mut()?);
        if let Some((lcore, name)) = handle.attached.take() {
            lcore.forget(name);
        }
        // SAFETY: from `spinlane_conn_create`, of this thread, in no call, freed once.
        drop(unsafe { Box::from_raw(conn) });
        Ok(())
    })
}

/// Has the devices of `lcore` compute the connection's ops; `name` comes out of `spinlane_next_ready`.
///
/// # Safety
/// Both are NULL or live.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spinlane_conn_attach(
    conn: *mut Handle,
    lcore: *mut ThreadLcore,
    name: *mut c_void,
) -> c_int {
    check(|| {
        // SAFETY: by the contract.
        let (handle, lcore) = unsafe { (Handle::of(conn)?, of(lcore)?) };
        let mut connection = handle.connection_mut()?;
        handle.attached.replace(Some((lcore.clone(), named(name))));
        handle.attach(&mut connection);
        Ok(())
    })
}

/// Sets what is called when the connection can go on, in place of the ready queue.
///
/// # Safety
/// `conn` is NULL or live; `callback` may be called until it is freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spinlane_conn_set_async_callback(
    conn: *mut Handle,
    callback: Option<CallbackFn>,
) -> c_int {
    check(|| {
        // SAFETY: by the contract.
        let handle = unsafe { Handle::of(conn) }?;
        let mut connection = handle.connection_mut()?;
        handle.callback.set(callback);
        handle.attach(&mut connection);
        Ok(())
    })
}

/// Sets what the callback is called with.
///
/// # Safety
/// `conn` is NULL or live.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spinlane_conn_set_async_callback_arg(
    conn: *mut Handle,
    arg: *mut c_void,
) -> c_int {
    check(|| {
        // SAFETY: by the contract.
        unsafe { Handle::of(conn) }?.argument.set(arg);
        Ok(())
    })
}

/// Tells the status of the last submission.
///
/// # Safety
/// `conn` is NULL or live; `status` is NULL or valid for writing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spinlane_conn_get_async_status(
    conn: *const Handle,
    status: *mut c_int,
) -> c_int {
    check(|| {
        // SAFETY: by the contract.
        let (handle, status) = unsafe { (Handle::of(conn)?, status.as_mut()) };
        let status = status.ok_or_else(|| null("status"))?;
        *status = match &*handle.wait_ctx.borrow() {
            Some(wait_ctx) => wait_ctx.status().0,
            None => handle.connection()?.async_status().0,
        };
        Ok(())
    })
}

/// Puts the connection's name into the retry queue, after a refusal that a callback told of.
///
/// # Safety
/// `conn` is NULL or live.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spinlane_conn_retry(conn: *mut Handle) -> c_int {
    check(|| {
        // SAFETY: by the contract.
        let handle = unsafe { Handle::of(conn) }?;
        let attached = handle.attached.borrow();
        let (_, name) = attached.as_ref().ok_or_else(|| {
            failure("the connection is attached to no lcore (spinlane_conn_attach)")
        })?;
        handle.connection()?.retry(*name);
        Ok(())
    })
}
