//! The module behind this one, loaded once per process, and what is known of both.

use std::env;
use std::path::Path;
use std::ptr;
use std::sync::atomic::AtomicBool;
use std::sync::{OnceLock, RwLock};

use cryptoki_sys::{CK_FUNCTION_LIST, CK_RV, CKR_GENERAL_ERROR, CKR_OK};
use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};

use crate::card::Card;
use crate::control::{Control, Words};
use crate::entry;

/// Everything that there is once per process.
pub(crate) struct State {
    /// The inner module's functions.
    pub(crate) inner: CK_FUNCTION_LIST,
    /// What this module hands out.
    pub(crate) ours: CK_FUNCTION_LIST,
    pub(crate) words: &'static Words,
    /// What computes in the inner module's place.
    pub(crate) card: Option<Card>,
    /// That the token is away has been seen, and its sessions closed.
    pub(crate) removed: AtomicBool,
    /// Held for reading while a session is used, for writing while all are closed.
    pub(crate) using: RwLock<()>,
}

static STATE: OnceLock<Option<State>> = OnceLock::new();

/// The state; it is made at the first call. `None` if the inner module cannot be had, of which the reason
/// is on stderr.
pub(crate) fn state() -> Option<&'static State> {
    let state = STATE.get_or_init(|| match make() {
        Ok(state) => Some(state),
        Err(reason) => {
            eprintln!("pkcs11-shim: {reason}");
            None
        }
    });
    state.as_ref()
}

fn make() -> Result<State, String> {
    let words = words()?;
    if let Ok(faults) = env::var("PKCS11_SHIM_FAULTS") {
        words.apply(&faults)?;
    }
    let path = env::var("PKCS11_SHIM_MODULE")
        .map_err(|_| "PKCS11_SHIM_MODULE is not set; it names the module to wrap".to_owned())?;
    let inner = load(&path)?;
    Ok(State {
        ours: entry::list(&inner),
        inner,
        words,
        card: env::var_os("PKCS11_SHIM_CARD").map(|folder| Card::new(Path::new(&folder))),
        removed: AtomicBool::new(false),
        using: RwLock::new(()),
    })
}

fn load(path: &str) -> Result<CK_FUNCTION_LIST, String> {
    // SAFETY: loading runs the module's constructors, which is what whoever set the variable asked for.
    let library = unsafe { Library::open(Some(path), RTLD_NOW | RTLD_LOCAL) };
    let library = library.map_err(|error| format!("{path}: {error}"))?;
    type GetFunctionList = unsafe extern "C" fn(*mut *mut CK_FUNCTION_LIST) -> CK_RV;
    // SAFETY: the type is that of PKCS #11 v2.40, section 5.4.
    let get = unsafe { library.get::<GetFunctionList>(b"C_GetFunctionList\0") };
    let get = get.map_err(|error| format!("{path}: {error}"))?;
    let mut list = ptr::null_mut();
    // SAFETY: `list` is valid for a write.
    let rv = unsafe { get(&mut list) };
    if rv != CKR_OK || list.is_null() {
        return Err(format!("{path}: C_GetFunctionList returned {rv:#x}"));
    }
    // SAFETY: the module says that a list is there, which lives as long as the module.
    let list = unsafe { ptr::read_unaligned(list) };
    // Its functions are in use until the process ends.
    std::mem::forget(library);
    Ok(list)
}

/// The words of the control file, or of this process alone if there is none.
fn words() -> Result<&'static Words, String> {
    static OWN: Words = Words::off();
    let Ok(path) = env::var("PKCS11_SHIM_CONTROL") else {
        return Ok(&OWN);
    };
    let control =
        Control::open(Path::new(&path)).map_err(|error| format!("control file {path}: {error}"))?;
    use std::os::fd::AsRawFd;
    // SAFETY: a fresh mapping of an open file, at an address of the kernel's choice.
    let address = unsafe {
        libc::mmap(
            ptr::null_mut(),
            Words::BYTES,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED,
            control.file().as_raw_fd(),
            0,
        )
    };
    if address == libc::MAP_FAILED {
        let error = std::io::Error::last_os_error();
        return Err(format!("control file {path}: {error}"));
    }
    // SAFETY: the mapping is page-aligned, as long as `Words`, valid for any bit pattern, written by
    // atomics or by the kernel alone, and never unmapped. Nobody shortens the file.
    Ok(unsafe { &*address.cast::<Words>() })
}

/// Runs an entry point's body with the state; a panic in it is CKR_GENERAL_ERROR.
pub(crate) fn guard(body: impl FnOnce(&'static State) -> CK_RV) -> CK_RV {
    let body = std::panic::AssertUnwindSafe(|| state().map_or(CKR_GENERAL_ERROR, body));
    std::panic::catch_unwind(body).unwrap_or(CKR_GENERAL_ERROR)
}
