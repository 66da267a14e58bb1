//! Bytes: the peer's in, the peer's out, and the text in between.

use std::ffi::{c_int, c_void};
use std::io;

use spinlane::lcore::Progress;
use spinlane::rustls::{Connection, Error};

use super::{Handle, ask, bytes, bytes_mut};
use crate::error::{Failure, check, failure, guard, null};

/// Fills `room`, up to `len` bytes of it; how many, or a negative number.
type FillFn = extern "C" fn(*mut c_void, *mut c_void, usize) -> isize;
/// Takes up to `len` bytes; how many, or a negative number.
type TakeFn = extern "C" fn(*mut c_void, *const c_void, usize) -> isize;

/// What `spinlane.h` calls them; 0 is a failure.
fn number(progress: Progress) -> c_int {
    match progress {
        Progress::Done(_) => 1,
        Progress::WantInput => 2,
        Progress::WantOutput => 3,
        Progress::Paused => 4,
        Progress::Refused => 5,
        Progress::NoJobs => 6,
        Progress::Closed => 7,
    }
}

/// Makes a call on a connection.
fn call<T>(
    handle: &Handle,
    call: impl FnOnce(&mut Connection) -> Result<T, Error>,
) -> Result<T, Failure> {
    let mut connection = handle.connection_mut()?;
    let was_established = connection.is_established();
    let result = call(&mut connection);
    if !was_established {
        handle.note(&connection);
    }
    result.map_err(|error| handle.fail(error))
}

/// Does the same where it counts bytes, in `count`.
fn transfer(
    handle: &Handle,
    count: &mut usize,
    action: impl FnOnce(&mut Connection) -> Result<Progress, Error>,
) -> Result<c_int, Failure> {
    let progress = call(handle, action)?;
    if let Progress::Done(done) = progress {
        *count = done;
    }
    Ok(number(progress))
}

/// A count for the caller, who adds up whatever a call says: 0, before anything else can be wrong.
///
/// # Safety
/// `count` is NULL or valid for writing for `'a`.
unsafe fn zeroed<'a>(count: *mut usize, argument: &str) -> Result<&'a mut usize, Failure> {
    // SAFETY: by the caller's promise.
    let count = unsafe { count.as_mut() }.ok_or_else(|| null(argument))?;
    *count = 0;
    Ok(count)
}

/// Drives the handshake.
///
/// # Safety
/// `conn` is NULL or live.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spinlane_conn_handshake(conn: *mut Handle) -> c_int {
    guard(0, || {
        // SAFETY: by the contract.
        let handle = unsafe { Handle::of(conn) }?;
        call(handle, Connection::handshake).map(number)
    })
}

/// Reads text into the caller's memory.
///
/// # Safety
/// `conn` is NULL or live; `to` is NULL or writable for `len` bytes; `count` is NULL or valid for writing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spinlane_conn_read(
    conn: *mut Handle,
    to: *mut c_void,
    len: usize,
    count: *mut usize,
) -> c_int {
    guard(0, || {
        // SAFETY: by the contract.
        let count = unsafe { zeroed(count, "count") }?;
        // SAFETY: by the contract.
        let (handle, to) = unsafe { (Handle::of(conn)?, bytes_mut(to, len, "to")?) };
        transfer(handle, count, |connection| connection.read(to))
    })
}

/// Lends text to `take`.
///
/// # Safety
/// `conn` is NULL or live; `take` may be called with `arg`; `count` is NULL or valid for writing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spinlane_conn_read_with(
    conn: *mut Handle,
    take: Option<TakeFn>,
    arg: *mut c_void,
    count: *mut usize,
) -> c_int {
    guard(0, || {
        // SAFETY: by the contract.
        let (count, handle) = unsafe { (zeroed(count, "count")?, Handle::of(conn)?) };
        let take = take.ok_or_else(|| null("take"))?;
        let lend = |text: &[u8]| {
            let taken = take(arg, text.as_ptr().cast(), text.len());
            usize::try_from(taken).unwrap_or(0).min(text.len())
        };
        transfer(handle, count, |connection| connection.read_with(lend))
    })
}

/// Seals text into the output.
///
/// # Safety
/// `conn` is NULL or live; `from` is NULL or readable for `len` bytes; `count` is NULL or valid for writing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spinlane_conn_write(
    conn: *mut Handle,
    from: *const c_void,
    len: usize,
    count: *mut usize,
) -> c_int {
    guard(0, || {
        // SAFETY: by the contract.
        let count = unsafe { zeroed(count, "count") }?;
        // SAFETY: by the contract.
        let (handle, from) = unsafe { (Handle::of(conn)?, bytes(from, len, "from")?) };
        transfer(handle, count, |connection| connection.write(from))
    })
}

/// Seals text into the caller's memory.
///
/// # Safety
/// `conn` is NULL or live; `from` is NULL or readable for `len` bytes, `to` is NULL or writable for `room` bytes,
/// and they do not overlap; `count` and `filled` are NULL or valid for writing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spinlane_conn_write_into(
    conn: *mut Handle,
    from: *const c_void,
    len: usize,
    to: *mut c_void,
    room: usize,
    count: *mut usize,
    filled: *mut usize,
) -> c_int {
    guard(0, || {
        // SAFETY: by the contract.
        let (count, filled) = unsafe { (zeroed(count, "count")?, zeroed(filled, "filled")?) };
        // SAFETY: by the contract.
        let (from, to) = unsafe { (bytes(from, len, "from")?, bytes_mut(to, room, "to")?) };
        // SAFETY: by the contract.
        transfer(unsafe { Handle::of(conn) }?, count, |connection| {
            let (progress, sealed) = connection.write_into(from, to)?;
            *filled = sealed;
            Ok(progress)
        })
    })
}

/// Says to the peer that no more will be written.
///
/// # Safety
/// `conn` is NULL or live.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spinlane_conn_shutdown(conn: *mut Handle) -> c_int {
    check(|| {
        // SAFETY: by the contract.
        unsafe { Handle::of(conn) }?.connection_mut()?.shutdown();
        Ok(())
    })
}

/// Changes the keys of both directions.
///
/// # Safety
/// `conn` is NULL or live.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spinlane_conn_refresh_keys(conn: *mut Handle) -> c_int {
    guard(0, || {
        // SAFETY: by the contract.
        let handle = unsafe { Handle::of(conn) }?;
        call(handle, Connection::refresh_traffic_keys).map(number)
    })
}

/// Takes bytes of the peer's; how many.
///
/// # Safety
/// `conn` is NULL or live; `from` is NULL or readable for `len` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spinlane_conn_push_input(
    conn: *mut Handle,
    from: *const c_void,
    len: usize,
) -> usize {
    guard(0, || {
        // SAFETY: by the contract.
        let (handle, from) = unsafe { (Handle::of(conn)?, bytes(from, len, "from")?) };
        Ok(handle.connection_mut()?.push_input(from))
    })
}

/// Has `fill` put bytes of the peer's where they belong; what it returned, 0 if there is no room.
///
/// # Safety
/// `conn` is NULL or live; `fill` may be called with `arg`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spinlane_conn_read_input(
    conn: *mut Handle,
    fill: Option<FillFn>,
    arg: *mut c_void,
) -> isize {
    guard(-1, || {
        // SAFETY: by the contract.
        let handle = unsafe { Handle::of(conn) }?;
        let fill = fill.ok_or_else(|| null("fill"))?;
        let mut returned = 0;
        let moved = handle.connection_mut()?.read_input(|room| {
            returned = fill(arg, room.as_mut_ptr().cast(), room.len());
            took(returned, room.len())
        });
        answer(returned, moved)
    })
}

/// Moves output into the caller's memory; how many bytes.
///
/// # Safety
/// `conn` is NULL or live; `to` is NULL or writable for `len` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spinlane_conn_take_output(
    conn: *mut Handle,
    to: *mut c_void,
    len: usize,
) -> usize {
    guard(0, || {
        // SAFETY: by the contract.
        let (handle, to) = unsafe { (Handle::of(conn)?, bytes_mut(to, len, "to")?) };
        Ok(handle.connection_mut()?.write_output(|output| {
            let count = output.len().min(to.len());
            to[..count].copy_from_slice(&output[..count]);
            Ok(count)
        })?)
    })
}

/// Lends the output to `take`; what it returned, 0 if there is nothing to be sent.
///
/// # Safety
/// `conn` is NULL or live; `take` may be called with `arg`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spinlane_conn_write_output(
    conn: *mut Handle,
    take: Option<TakeFn>,
    arg: *mut c_void,
) -> isize {
    guard(-1, || {
        // SAFETY: by the contract.
        let handle = unsafe { Handle::of(conn) }?;
        let take = take.ok_or_else(|| null("take"))?;
        let mut returned = 0;
        let moved = handle.connection_mut()?.write_output(|output| {
            returned = take(arg, output.as_ptr().cast(), output.len());
            took(returned, output.len())
        });
        answer(returned, moved)
    })
}

/// What a function of the application's did with at most `len` bytes.
fn took(returned: isize, len: usize) -> io::Result<usize> {
    match usize::try_from(returned) {
        Ok(count) if count <= len => Ok(count),
        _ => Err(io::Error::other("a function of the application's failed")),
    }
}

/// What the caller is told: the number that its function returned, or why it was not called.
fn answer(returned: isize, moved: io::Result<usize>) -> Result<isize, Failure> {
    match returned {
        0 => Ok(moved?.cast_signed()),
        1.. => Ok(returned),
        _ => Err(failure(
            "the function given returned a negative number; see errno",
        )),
    }
}

/// Bytes that wait to be sent.
///
/// # Safety
/// `conn` is NULL or live.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spinlane_conn_output_len(conn: *const Handle) -> usize {
    // SAFETY: by the contract.
    unsafe { ask(conn, 0, |conn| Ok(conn.output_len())) }
}

/// Bytes of text that wait to be read.
///
/// # Safety
/// `conn` is NULL or live.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spinlane_conn_pending(conn: *const Handle) -> usize {
    // SAFETY: by the contract.
    unsafe { ask(conn, 0, |conn| Ok(conn.pending())) }
}

/// Whether there is room for bytes of the peer's.
///
/// # Safety
/// `conn` is NULL or live.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spinlane_conn_has_input_room(conn: *const Handle) -> c_int {
    // SAFETY: by the contract.
    unsafe { ask(conn, 0, |conn| Ok(conn.has_input_room().into())) }
}
