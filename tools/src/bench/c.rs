//! The rustls front-end as C programs have it: `spinlane_conn_*` of a libspinlane.so that is loaded here, with the
//! lcore of that library. So the loop that is measured is the same, and only the calls cross a C boundary.

#![allow(unsafe_code)]

use std::ffi::{CStr, CString, c_char, c_int, c_uint, c_void};
use std::path::Path;
use std::ptr;

use anyhow::{Context, Result, bail, ensure};
use libloading::Library;
use spinlane_proxy::tls::{Identity, Progress};

use super::handshake::{Args, Group, Suite, Version};

type Object = *mut c_void;
type TakeFn = unsafe extern "C" fn(*mut c_void, *const c_void, usize) -> isize;

/// Declares functions of spinlane.h, with what finds them in a library.
macro_rules! functions {
    ($($name:ident($($arg:ty),*) $(-> $ret:ty)?;)*) => {
        struct Functions { $($name: unsafe extern "C" fn($($arg),*) $(-> $ret)?,)* }

        impl Functions {
            /// # Safety
            /// `library` is a libspinlane.so, whose functions are declared here as spinlane.h has them.
            unsafe fn of(library: &Library) -> Result<Self> {
                // SAFETY: by the caller's promise.
                Ok(unsafe { Self { $($name: *library.get(concat!(stringify!($name), "\0").as_bytes())?,)* } })
            }
        }
    };
}

functions! {
    spinlane_last_error() -> *const c_char;
    spinlane_device_open(*const c_char) -> Object;
    spinlane_lcore_create() -> Object;
    spinlane_lcore_add_device(Object, Object, c_uint) -> c_int;
    spinlane_note_work(Object) -> c_int;
    spinlane_poll(Object) -> c_int;
    spinlane_next_ready(Object, *mut Object) -> c_int;
    spinlane_conn_config_create_server() -> Object;
    spinlane_conn_config_add_certificate(Object, *const u8, usize, *const u8, usize) -> c_int;
    spinlane_conn_config_set_versions(Object, c_uint, c_uint) -> c_int;
    spinlane_conn_config_set_groups(Object, *const c_char) -> c_int;
    spinlane_conn_config_set_suites(Object, *const c_char) -> c_int;
    spinlane_conn_config_set_tickets(Object, c_uint, u64) -> c_int;
    spinlane_conn_create(Object, *const c_char) -> Object;
    spinlane_conn_attach(Object, Object, Object) -> c_int;
    spinlane_conn_free(Object) -> c_int;
    spinlane_conn_handshake(Object) -> c_int;
    spinlane_conn_read(Object, *mut u8, usize, *mut usize) -> c_int;
    spinlane_conn_write(Object, *const u8, usize, *mut usize) -> c_int;
    spinlane_conn_push_input(Object, *const u8, usize) -> usize;
    spinlane_conn_write_output(Object, TakeFn, Object) -> isize;
    spinlane_conn_is_resumed(Object) -> c_int;
}

/// A server's settings, and the lcore that serves it, of this thread. Lives as long as the program.
pub struct CServers {
    functions: &'static Functions,
    lcore: Object,
    config: Object,
}

/// A server's side of a connection.
pub struct CConn {
    functions: &'static Functions,
    conn: Object,
}

impl CServers {
    /// Loads the library, or the one beside this program, and makes settings like those of the Rust side.
    ///
    /// # Errors
    /// There is no such library, or it refuses a setting.
    pub fn new(args: &Args, identity: &Identity) -> Result<Self> {
        let beside = std::env::current_exe()?.with_file_name("libspinlane.so");
        let functions = load(args.library.as_deref().unwrap_or(&beside))?;
        let spec = CString::new(&*args.device)?;
        let (chain, key) = identity.openssl();
        let (chain, key) = (chain.text(), key.text());
        let groups = match args.group {
            Group::X25519 => c"X25519",
            Group::P256 => c"P-256",
            Group::X25519Mlkem768 => c"X25519MLKEM768",
        };
        let version = match args.protocol {
            Version::Tls12 => 0x0303,
            Version::Tls13 => 0x0304,
        };
        let suites = match args.preferred() {
            Suite::Aes128 => {
                c"TLS_AES_128_GCM_SHA256:TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256:TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"
            }
            Suite::Aes256 => {
                c"TLS_AES_256_GCM_SHA384:TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384:TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"
            }
        };
        let tickets = c_uint::try_from(args.tickets)?;
        // SAFETY: live objects and terminated strings, and texts as long as said.
        unsafe {
            let device = (functions.spinlane_device_open)(spec.as_ptr());
            let lcore = (functions.spinlane_lcore_create)();
            let config = (functions.spinlane_conn_config_create_server)();
            let are_made = ![device, lcore, config].contains(&ptr::null_mut());
            let is_set = are_made
                && (functions.spinlane_lcore_add_device)(lcore, device, 0) == 1
                && (functions.spinlane_conn_config_add_certificate)(
                    config,
                    chain.as_ptr(),
                    chain.len(),
                    key.as_ptr(),
                    key.len(),
                ) == 1
                && (functions.spinlane_conn_config_set_versions)(config, version, version) == 1
                && (functions.spinlane_conn_config_set_groups)(config, groups.as_ptr()) == 1
                && (functions.spinlane_conn_config_set_suites)(config, suites.as_ptr()) == 1
                && (functions.spinlane_conn_config_set_tickets)(config, tickets, 3600) == 1;
            ensure!(is_set, "libspinlane.so: {}", functions.last_error());
            Ok(Self {
                functions,
                lcore,
                config,
            })
        }
    }

    /// A new connection, called `name` on the lcore.
    ///
    /// # Errors
    /// The library refuses.
    pub fn accept(&self, name: u64) -> Result<CConn> {
        let functions = self.functions;
        // SAFETY: live objects; a name is never followed.
        let conn = unsafe { (functions.spinlane_conn_create)(self.config, ptr::null()) };
        ensure!(
            !conn.is_null(),
            "spinlane_conn_create: {}",
            functions.last_error()
        );
        let conn = CConn { functions, conn };
        let name = ptr::without_provenance_mut(name as usize);
        // SAFETY: as above.
        let attached = unsafe { (functions.spinlane_conn_attach)(conn.conn, self.lcore, name) };
        ensure!(
            attached == 1,
            "spinlane_conn_attach: {}",
            functions.last_error()
        );
        Ok(conn)
    }

    /// Polls the lcore and hands the names of those that can go on to `ready`. `more`: there is work that may lead
    /// to ops yet.
    ///
    /// # Errors
    /// The library refuses.
    pub fn poll(&self, more: bool, mut ready: impl FnMut(u64)) -> Result<()> {
        let functions = self.functions;
        let mut name = ptr::null_mut::<c_void>();
        // SAFETY: a live lcore of this thread, and a place for a name.
        unsafe {
            if more {
                (functions.spinlane_note_work)(self.lcore);
            }
            let polled = (functions.spinlane_poll)(self.lcore);
            ensure!(polled >= 0, "spinlane_poll: {}", functions.last_error());
            while (functions.spinlane_next_ready)(self.lcore, &raw mut name) == 1 {
                ready(name.addr() as u64);
            }
        }
        Ok(())
    }
}

fn load(path: &Path) -> Result<&'static Functions> {
    let what = || {
        format!(
            "{}: build it by `cargo build --release --package spinlane-capi`, or name another by --library",
            path.display()
        )
    };
    // SAFETY: a libspinlane.so, or the user's own mistake; it stays loaded.
    let library = unsafe { Library::new(path) }.with_context(what)?;
    let library = Box::leak(Box::new(library));
    // SAFETY: declared as in spinlane.h.
    let functions = unsafe { Functions::of(library) }.with_context(what)?;
    Ok(Box::leak(Box::new(functions)))
}

impl Functions {
    fn last_error(&self) -> String {
        // SAFETY: terminated, and valid until this thread's next failure.
        let text = unsafe { CStr::from_ptr((self.spinlane_last_error)()) };
        text.to_string_lossy().into_owned()
    }
}

impl CConn {
    fn progress(&self, number: c_int, count: usize) -> Result<Progress> {
        Ok(match number {
            1 => Progress::Done(count),
            2 => Progress::WantInput,
            3 => Progress::WantOutput,
            4 => Progress::Paused,
            5 => Progress::Refused,
            6 => Progress::NoJobs,
            7 => Progress::Closed,
            _ => bail!("spinlane_conn: {}", self.functions.last_error()),
        })
    }

    /// Goes on with the handshake.
    ///
    /// # Errors
    /// It fails.
    pub fn handshake(&mut self) -> Result<Progress> {
        // SAFETY: a live connection of this thread.
        let number = unsafe { (self.functions.spinlane_conn_handshake)(self.conn) };
        self.progress(number, 0)
    }

    /// Reads plain text.
    ///
    /// # Errors
    /// A record is at fault.
    pub fn read(&mut self, to: &mut [u8]) -> Result<Progress> {
        let mut count = 0;
        let read = self.functions.spinlane_conn_read;
        // SAFETY: a live connection of this thread; memory as long as said.
        let number = unsafe { read(self.conn, to.as_mut_ptr(), to.len(), &raw mut count) };
        self.progress(number, count)
    }

    /// Writes plain text.
    ///
    /// # Errors
    /// The library refuses.
    pub fn write(&mut self, from: &[u8]) -> Result<Progress> {
        let mut count = 0;
        let write = self.functions.spinlane_conn_write;
        // SAFETY: a live connection of this thread; memory as long as said.
        let number = unsafe { write(self.conn, from.as_ptr(), from.len(), &raw mut count) };
        self.progress(number, count)
    }

    /// Takes bytes of the client's; returns how many.
    pub fn push_input(&mut self, bytes: &[u8]) -> usize {
        let push = self.functions.spinlane_conn_push_input;
        // SAFETY: a live connection of this thread; memory as long as said.
        unsafe { push(self.conn, bytes.as_ptr(), bytes.len()) }
    }

    /// Hands what is to be sent to `to`; returns how much of it that took.
    pub fn write_output(&mut self, mut to: impl FnMut(&[u8]) -> usize) -> usize {
        /// # Safety
        /// `to` is a `T`, and `bytes` are readable for `len`.
        unsafe extern "C" fn take<T: FnMut(&[u8]) -> usize>(
            to: *mut c_void,
            bytes: *const c_void,
            len: usize,
        ) -> isize {
            // SAFETY: by the contract.
            let (to, bytes) = unsafe {
                let bytes = std::slice::from_raw_parts(bytes.cast(), len);
                (&mut *to.cast::<T>(), bytes)
            };
            to(bytes).cast_signed()
        }
        fn taker<T: FnMut(&[u8]) -> usize>(_: &T) -> TakeFn {
            take::<T>
        }
        let take = taker(&to);
        let lend = self.functions.spinlane_conn_write_output;
        // SAFETY: a live connection of this thread, and a function with the argument that it takes.
        let taken = unsafe { lend(self.conn, take, (&raw mut to).cast()) };
        usize::try_from(taken).unwrap_or(0)
    }

    /// Whether the handshake resumed a session.
    pub fn session_reused(&self) -> bool {
        // SAFETY: a live connection of this thread.
        unsafe { (self.functions.spinlane_conn_is_resumed)(self.conn) == 1 }
    }
}

impl Drop for CConn {
    fn drop(&mut self) {
        // SAFETY: live, of this thread, and used no more.
        unsafe { (self.functions.spinlane_conn_free)(self.conn) };
    }
}
