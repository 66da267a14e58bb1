//! Sessions that end a time after their full handshake.
//!
//! libssl counts a session's life from its last ticket, and in TLS 1.3 every resumption brings a
//! new one: a client could go on for ever by the certificate that it once showed. So a session
//! carries its end with it, in its ticket's application data; the certificates that the client was
//! verified by end it too. Ticket keys are those of the context, random, and die with it: no other
//! context opens its tickets.

use std::ffi::{c_int, c_long, c_uchar, c_void};
use std::ptr;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::error::SslError;
use crate::ffi::{self, SSL, SSL_CTX, SSL_SESSION};

/// A session's end in seconds since 1970, big-endian.
type End = [u8; 8];

/// Limits the sessions of `ctx` to `lifetime` seconds since their full handshake.
///
/// # Safety
/// `ctx` is a live context.
pub(super) unsafe fn limit_sessions(ctx: *mut SSL_CTX, lifetime: c_long) -> Result<(), SslError> {
    // SAFETY: a live context; the callbacks are functions and take no argument.
    let set = unsafe {
        ffi::SSL_CTX_set_timeout(ctx, lifetime);
        ffi::SSL_CTX_set_session_ticket_cb(ctx, Some(note_end), Some(heed_end), ptr::null_mut())
    };
    if set == 1 {
        Ok(())
    } else {
        Err(SslError::call("SSL_CTX_set_session_ticket_cb"))
    }
}

/// SSL_CTX_generate_session_ticket_fn: a ticket is about to be made. 0 ends the handshake.
unsafe extern "C" fn note_end(ssl: *mut SSL, _: *mut c_void) -> c_int {
    // SAFETY: libssl passes the connection, whose session is the one to be sealed; what is said of
    // the session holds for each call.
    unsafe {
        let session = ffi::SSL_get_session(ssl);
        let now = now();
        let end = match end_of(session) {
            Some(end) => end,
            None => {
                let lifetime = ffi::SSL_SESSION_get_timeout(session);
                let end = now.saturating_add(u64::try_from(lifetime).unwrap_or(0));
                let end = end.min(clients_end(ssl, now));
                let bytes: End = end.to_be_bytes();
                let data = bytes.as_ptr().cast();
                if ffi::SSL_SESSION_set1_ticket_appdata(session, data, bytes.len()) != 1 {
                    return 0;
                }
                end
            }
        };
        // What the client is told.
        let left = c_long::try_from(end.saturating_sub(now)).unwrap_or(c_long::MAX);
        ffi::SSL_SESSION_set_timeout(session, left);
    }
    1
}

/// SSL_CTX_decrypt_session_ticket_fn: a ticket was opened, or not.
unsafe extern "C" fn heed_end(
    _: *mut SSL,
    session: *mut SSL_SESSION,
    _: *const c_uchar,
    _: usize,
    status: c_int,
    _: *mut c_void,
) -> c_int {
    match status {
        ffi::SSL_TICKET_SUCCESS | ffi::SSL_TICKET_SUCCESS_RENEW => {}
        _ => return ffi::SSL_TICKET_RETURN_IGNORE_RENEW,
    }
    // SAFETY: with these results libssl passes the session.
    match unsafe { end_of(session) } {
        Some(end) if now() < end && status == ffi::SSL_TICKET_SUCCESS => ffi::SSL_TICKET_RETURN_USE,
        Some(end) if now() < end => ffi::SSL_TICKET_RETURN_USE_RENEW,
        _ => ffi::SSL_TICKET_RETURN_IGNORE_RENEW,
    }
}

/// # Safety
/// `session` is a live session.
unsafe fn end_of(session: *mut SSL_SESSION) -> Option<u64> {
    let (mut data, mut len) = (ptr::null_mut(), 0);
    // SAFETY: a live session; places of ours.
    let had = unsafe { ffi::SSL_SESSION_get0_ticket_appdata(session, &raw mut data, &raw mut len) };
    if had != 1 || data.is_null() || len != size_of::<End>() {
        return None;
    }
    // SAFETY: the session has that many bytes there, while it lives.
    Some(u64::from_be_bytes(unsafe { *data.cast::<End>() }))
}

/// Returns when the first of the certificates ends by which the client was verified; `u64::MAX` if
/// it was not, `now` if that cannot be read.
///
/// # Safety
/// `ssl` is a live connection.
unsafe fn clients_end(ssl: *mut SSL, now: u64) -> u64 {
    // SAFETY: a live connection, which owns the chain and its certificates; a NULL chain has -1.
    let (chain, count) = unsafe {
        let chain: *mut ffi::OPENSSL_STACK = ffi::SSL_get0_verified_chain(ssl).cast();
        (chain, ffi::OPENSSL_sk_num(chain))
    };
    let ends = (0..count).map(|index| {
        let (mut days, mut seconds) = (0, 0);
        // SAFETY: an index of the chain; NULL is the time that it is; places of ours.
        let read = unsafe {
            let certificate = ffi::OPENSSL_sk_value(chain, index).cast();
            let end = ffi::X509_getm_notAfter(certificate);
            ffi::ASN1_TIME_diff(&raw mut days, &raw mut seconds, ptr::null(), end)
        };
        let left = i64::from(days) * 86400 + i64::from(seconds);
        now.saturating_add(u64::try_from(left).unwrap_or(0) * u64::from(read == 1))
    });
    ends.min().unwrap_or(u64::MAX)
}

fn now() -> u64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH);
    since_1970.unwrap_or_default().as_secs()
}
