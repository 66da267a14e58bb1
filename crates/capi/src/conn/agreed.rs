//! What a handshake has agreed on, and why a connection has ended.

use std::ffi::{c_char, c_int, c_uint, c_void};

use spinlane::rustls::rustls;
use spinlane::rustls::{Connection, Error};

use super::settings::{group_named, suite_named};
use super::{Handle, ask, bytes_mut, copy_text};
use crate::error::guard;

/// Copies what `find` finds of a connection.
///
/// # Safety
/// `conn` is NULL or live; `to` is NULL or writable for `size` bytes.
unsafe fn tell(
    conn: *const Handle,
    to: *mut c_char,
    size: usize,
    find: impl FnOnce(&Connection) -> Option<Vec<u8>>,
) -> usize {
    // SAFETY: by the caller's promise.
    unsafe { ask(conn, 0, |conn| copy_text(find(conn).as_deref(), to, size)) }
}

/// The version of TLS, as a number; 0 before it is agreed on.
///
/// # Safety
/// `conn` is NULL or live.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spinlane_conn_version(conn: *const Handle) -> c_uint {
    let version = |conn: &Connection| {
        conn.protocol_version()
            .map_or(0, |version| u16::from(version).into())
    };
    // SAFETY: by the contract.
    unsafe { ask(conn, 0, |conn| Ok(version(conn))) }
}

/// Name of the cipher suite.
///
/// # Safety
/// `conn` is NULL or live; `to` is NULL or writable for `size` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spinlane_conn_suite(
    conn: *const Handle,
    to: *mut c_char,
    size: usize,
) -> usize {
    let name = |conn: &Connection| conn.cipher_suite().map(|suite| suite_named(suite.suite()));
    // SAFETY: by the contract.
    unsafe { tell(conn, to, size, |conn| name(conn).map(String::into_bytes)) }
}

/// Name of the group of the key exchange.
///
/// # Safety
/// `conn` is NULL or live; `to` is NULL or writable for `size` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spinlane_conn_group(
    conn: *const Handle,
    to: *mut c_char,
    size: usize,
) -> usize {
    let name = |conn: &Connection| conn.group().map(group_named);
    // SAFETY: by the contract.
    unsafe { tell(conn, to, size, |conn| name(conn).map(String::into_bytes)) }
}

/// The protocol that ALPN has chosen.
///
/// # Safety
/// `conn` is NULL or live; `to` is NULL or writable for `size` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spinlane_conn_alpn(
    conn: *const Handle,
    to: *mut c_char,
    size: usize,
) -> usize {
    // SAFETY: by the contract.
    unsafe { tell(conn, to, size, Connection::alpn_protocol) }
}

/// The name that the client asked the server for.
///
/// # Safety
/// `conn` is NULL or live; `to` is NULL or writable for `size` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spinlane_conn_server_name(
    conn: *const Handle,
    to: *mut c_char,
    size: usize,
) -> usize {
    guard(0, || {
        // SAFETY: by the contract.
        let name = unsafe { Handle::of(conn) }?.server_name.borrow();
        // SAFETY: by the contract.
        unsafe { copy_text(name.as_deref().map(str::as_bytes), to, size) }
    })
}

/// One of the peer's certificates.
///
/// # Safety
/// `conn` is NULL or live; `to` is NULL or writable for `size` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spinlane_conn_peer_certificate(
    conn: *const Handle,
    index: c_uint,
    to: *mut c_void,
    size: usize,
) -> usize {
    let copy = |conn: &Connection| {
        let found = conn.peer_certificates().unwrap_or_default();
        let der = found.get(index as usize).map_or(&[][..], AsRef::as_ref);
        // SAFETY: by the contract.
        let to = unsafe { bytes_mut(to, size, "to") }?;
        if let Some(to) = to.get_mut(..der.len()) {
            to.copy_from_slice(der);
        }
        Ok(der.len())
    };
    // SAFETY: by the contract.
    unsafe { ask(conn, 0, copy) }
}

/// Whether the handshake resumed a session.
///
/// # Safety
/// `conn` is NULL or live.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spinlane_conn_is_resumed(conn: *const Handle) -> c_int {
    // SAFETY: by the contract.
    unsafe { ask(conn, 0, |conn| Ok(conn.session_reused().into())) }
}

/// Whether the handshake is done.
///
/// # Safety
/// `conn` is NULL or live.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spinlane_conn_is_established(conn: *const Handle) -> c_int {
    // SAFETY: by the contract.
    unsafe { ask(conn, 0, |conn| Ok(conn.is_established().into())) }
}

/// Whether the handshake is paused.
///
/// # Safety
/// `conn` is NULL or live.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spinlane_conn_is_paused(conn: *const Handle) -> c_int {
    // SAFETY: by the contract.
    unsafe { ask(conn, 0, |conn| Ok(conn.is_paused().into())) }
}

/// Whether devices compute the connection's ops.
///
/// # Safety
/// `conn` is NULL or live.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spinlane_conn_is_offloaded(conn: *const Handle) -> c_int {
    // SAFETY: by the contract.
    unsafe { ask(conn, 0, |conn| Ok(conn.is_offloaded().into())) }
}

/// What ended the connection, as a text; empty if nothing did.
///
/// # Safety
/// `conn` is NULL or live.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spinlane_conn_error(conn: *const Handle) -> *const c_char {
    guard(c"".as_ptr(), || {
        // SAFETY: by the contract.
        let error = unsafe { Handle::of(conn) }?.error.borrow();
        // Set once, so that it lasts as long as the connection.
        Ok(error
            .as_ref()
            .map_or(c"".as_ptr(), |(_, text)| text.as_ptr()))
    })
}

/// The alert by which the peer ended the connection, or -1.
///
/// # Safety
/// `conn` is NULL or live.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spinlane_conn_alert(conn: *const Handle) -> c_int {
    guard(-1, || {
        // SAFETY: by the contract.
        let error = unsafe { Handle::of(conn) }?.error.borrow();
        Ok(match error.as_ref() {
            Some((Error::Tls(rustls::Error::AlertReceived(alert)), _)) => u8::from(*alert).into(),
            _ => -1,
        })
    })
}
