//! What a handshake has agreed on, and why a connection has ended.

use std::ffi::{c_char, c_int, c_uint, c_void};

use spinlane::rustls::rustls;
use spinlane::rustls::{Connection, Error};

use super::settings::{group_named, suite_named};
use super::{Handle, bytes_mut, copy_text};
use crate::error::guard;

/// Copies what `ask` gets of a connection.
///
/// # Safety
/// `conn` is NULL or live; `to` is NULL or writable for `size` bytes.
unsafe fn tell(
    conn: *const Handle,
    to: *mut c_char,
    size: usize,
    ask: impl FnOnce(&Connection) -> Option<Vec<u8>>,
) -> usize {
    guard(0, || {
        // SAFETY: by the caller's promise.
        let found = ask(&*unsafe { Handle::of(conn) }?.connection()?);
        // SAFETY: by the caller's promise.
        unsafe { copy_text(found.as_deref(), to, size) }
    })
}

/// The version of TLS, as a number; 0 before it is agreed on.
///
/// # Safety
/// `conn` is NULL or live.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spinlane_conn_version(conn: *const Handle) -> c_uint {
    guard(0, || {
        // SAFETY: by the contract.
        let version = unsafe { Handle::of(conn) }?
            .connection()?
            .protocol_version();
        Ok(version.map_or(0, |version| u16::from(version).into()))
    })
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
    guard(0, || {
        // SAFETY: by the contract.
        let found = unsafe { Handle::of(conn) }?
            .connection()?
            .peer_certificates();
        let found = found.unwrap_or_default();
        let der = found.get(index as usize).map_or(&[][..], AsRef::as_ref);
        // SAFETY: by the contract.
        let to = unsafe { bytes_mut(to, size, "to") }?;
        if let Some(to) = to.get_mut(..der.len()) {
            to.copy_from_slice(der);
        }
        Ok(der.len())
    })
}

/// Whether the handshake resumed a session.
///
/// # Safety
/// `conn` is NULL or live.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spinlane_conn_is_resumed(conn: *const Handle) -> c_int {
    // SAFETY: by the contract.
    unsafe { is(conn, Connection::session_reused) }
}

/// Whether the handshake is done.
///
/// # Safety
/// `conn` is NULL or live.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spinlane_conn_is_established(conn: *const Handle) -> c_int {
    // SAFETY: by the contract.
    unsafe { is(conn, Connection::is_established) }
}

/// Whether the handshake is paused.
///
/// # Safety
/// `conn` is NULL or live.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spinlane_conn_is_paused(conn: *const Handle) -> c_int {
    // SAFETY: by the contract.
    unsafe { is(conn, Connection::is_paused) }
}

/// Whether devices compute the connection's ops.
///
/// # Safety
/// `conn` is NULL or live.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spinlane_conn_is_offloaded(conn: *const Handle) -> c_int {
    // SAFETY: by the contract.
    unsafe { is(conn, Connection::is_offloaded) }
}

/// # Safety
/// `conn` is NULL or live.
unsafe fn is(conn: *const Handle, ask: impl FnOnce(&Connection) -> bool) -> c_int {
    guard(0, || {
        // SAFETY: by the caller's promise.
        let handle = unsafe { Handle::of(conn) }?;
        let connection = handle.connection()?;
        Ok(ask(&connection).into())
    })
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
