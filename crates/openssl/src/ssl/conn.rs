//! `SSL`: one connection over memory buffers.
//!
//! ```text
//!              handshake / read / write
//!                        │
//!        Done  WantInput  WantOutput  Closed      Paused            Refused
//!                                                   │                  │
//!                        callback in Lcore::poll ───┤                  │ free slots
//!                                                   ▼                  ▼
//!                                          Lcore::next_ready  ◀── retry queue
//! ```

use std::cell::RefCell;
use std::ffi::{CString, c_int, c_long, c_void};
use std::io;
use std::marker::PhantomData;
use std::net::IpAddr;
use std::ptr;
use std::rc::Rc;

use spinlane_job::{self as job, Notify, Status};
use spinlane_lcore::{Lcore, Progress};

use super::bio::{self, Buffers};
use super::ctx::SslCtx;
use super::pem::Owned;
use super::raw::{self, close};
use crate::error::{ErrorStack, SslError};
use crate::ffi::{self, SSL};

/// A connection. Stays on the thread that made it.
pub struct Ssl {
    ssl: *mut SSL,
    buffers: Rc<RefCell<Buffers>>,
    attached: Option<Box<Attached>>,
    /// Whether a call is paused on a job.
    paused: bool,
    established: bool,
    /// The server's name is set.
    named: bool,
    /// Whether close_notify waits for room in the output.
    closing: bool,
    ctx: SslCtx,
    _not_send: PhantomData<*mut ()>,
}

/// Whom the callback tells.
struct Attached {
    lcore: Lcore,
    notify: Notify,
}

impl Ssl {
    /// Makes the server's side of a connection.
    ///
    /// # Errors
    /// libssl is out of memory.
    pub fn server(ctx: &SslCtx) -> Result<Self, SslError> {
        let ssl = Self::new(ctx)?;
        // SAFETY: a live connection.
        unsafe { ffi::SSL_set_accept_state(ssl.ssl) };
        Ok(ssl)
    }

    /// Makes the client's side of a connection.
    ///
    /// # Errors
    /// libssl is out of memory.
    pub fn client(ctx: &SslCtx) -> Result<Self, SslError> {
        let ssl = Self::new(ctx)?;
        // SAFETY: a live connection.
        unsafe { ffi::SSL_set_connect_state(ssl.ssl) };
        Ok(ssl)
    }

    fn new(ctx: &SslCtx) -> Result<Self, SslError> {
        // SAFETY: a live context, which `ctx` keeps.
        let ssl = unsafe { ffi::SSL_new(ctx.as_ptr()) };
        if ssl.is_null() {
            return Err(SslError::call("SSL_new"));
        }
        let this = Self {
            ssl,
            buffers: Rc::default(),
            attached: None,
            paused: false,
            established: false,
            named: false,
            closing: false,
            ctx: ctx.clone(),
            _not_send: PhantomData,
        };
        // SAFETY: the buffers are shared by count and outlive the BIO, which goes with the SSL in
        // `drop`.
        let bio = unsafe { bio::new(Rc::as_ptr(&this.buffers)) }?;
        // SAFETY: a live connection; it takes the one reference that a BIO used for both needs.
        unsafe { ffi::SSL_set_bio(this.ssl, bio, bio) };
        Ok(this)
    }

    /// Attaches the connection to `lcore`, whose devices compute the handshake's ops from now on.
    /// Calls on the connection run under that lcore by themselves.
    ///
    /// When the handshake can go on, `notify` tells: a [`Conn`](spinlane_lcore::Conn) comes out of
    /// [`Lcore::next_ready`], a [`Waker`](std::task::Waker) is woken. Call this before the first
    /// handshake call, in which libssl copies the callback. A later call may change whom to notify.
    ///
    /// A connection that is attached to no lcore computes its ops in place.
    pub fn attach(&mut self, lcore: &Lcore, notify: impl Into<Notify>) {
        let attached = self.attached.insert(Box::new(Attached {
            lcore: lcore.clone(),
            notify: notify.into(),
        }));
        let arg = ptr::from_mut::<Attached>(attached).cast();
        // SAFETY: a live connection; `go_on` is called with what it expects, for as long as the
        // connection lives.
        unsafe {
            raw::call_back(self.ssl, go_on, arg);
            if self.ctx.offloads() {
                raw::run_as_jobs(self.ssl);
            }
        }
    }

    /// Returns `true` if devices compute the connection's ops: its context offloads, and it is
    /// attached to an lcore of this process that has a device.
    pub fn is_offloaded(&self) -> bool {
        let attached = self.attached.as_ref();
        self.ctx.offloads() && attached.is_some_and(|attached| attached.lcore.is_served())
    }

    /// Returns how the last submission went, as SSL_get_async_status(3) does.
    pub fn async_status(&self) -> Status {
        status_of(self.ssl)
    }

    /// Sets the DNS name or IP address of the server that a client wants: asks for that name (SNI), and has the
    /// certificate verified to have it, if certificates are verified. Before the first handshake call.
    ///
    /// # Errors
    /// [`SslError::Setting`]: it is no name.
    pub fn set_server_name(&mut self, name: &str) -> Result<(), SslError> {
        let refused = || SslError::Setting {
            setting: "server name",
            value: name.to_owned(),
            detail: ErrorStack::take(),
        };
        let chars = CString::new(name).ok().filter(|_| !name.is_empty());
        let chars = chars.ok_or_else(refused)?;
        // SAFETY: a live connection and its own parameters; a terminated string, which libssl copies.
        let is_set = unsafe {
            if name.parse::<IpAddr>().is_ok() {
                let parameters = ffi::SSL_get0_param(self.ssl);
                ffi::X509_VERIFY_PARAM_set1_ip_asc(parameters, chars.as_ptr()) == 1
            } else {
                const DNS_NAME: c_long = 0;
                let command = ffi::SSL_CTRL_SET_TLSEXT_HOSTNAME;
                let asked = chars.as_ptr().cast_mut().cast();
                ffi::SSL_set1_host(self.ssl, chars.as_ptr()) == 1
                    && ffi::SSL_ctrl(self.ssl, command, DNS_NAME, asked) == 1
            }
        };
        self.named = is_set;
        if is_set { Ok(()) } else { Err(refused()) }
    }

    /// Drives the handshake.
    ///
    /// # Errors
    /// [`SslError::Tls`]; the output may hold an alert to be sent before closing.
    pub fn handshake(&mut self) -> Result<Progress, SslError> {
        if self.ctx.needs_name() && !self.named {
            return Err(SslError::NoServerName);
        }
        let lcore = self
            .attached
            .as_ref()
            .map(|attached| attached.lcore.clone());
        // SAFETY: a live connection, on its thread.
        let mut shake = || self.call(|ssl, _| unsafe { ffi::SSL_do_handshake(ssl) });
        let result = match lcore {
            Some(lcore) => lcore.run(shake),
            None => shake(),
        }?;
        if let (Progress::Done(_), false) = (result, self.established) {
            self.established = true;
            // What follows never pauses, so it need not be a job.
            // SAFETY: a live connection.
            unsafe {
                ffi::SSL_ctrl(
                    self.ssl,
                    ffi::SSL_CTRL_CLEAR_MODE,
                    ffi::SSL_MODE_ASYNC,
                    ptr::null_mut(),
                )
            };
        }
        Ok(result)
    }

    /// Reads plain text, once the handshake is done.
    ///
    /// # Errors
    /// As for [`Ssl::handshake`].
    pub fn read(&mut self, to: &mut [u8]) -> Result<Progress, SslError> {
        // SAFETY: a live connection; the slice is valid for its length.
        self.once_established(|ssl, count| unsafe {
            ffi::SSL_read_ex(ssl, to.as_mut_ptr().cast(), to.len(), count)
        })
    }

    /// Writes plain text, once the handshake is done. May take a part of it only.
    ///
    /// # Errors
    /// As for [`Ssl::handshake`].
    pub fn write(&mut self, from: &[u8]) -> Result<Progress, SslError> {
        if from.is_empty() {
            return Ok(Progress::Done(0));
        }
        // SAFETY: a live connection; the slice is valid for its length.
        self.once_established(|ssl, count| unsafe {
            ffi::SSL_write_ex(ssl, from.as_ptr().cast(), from.len(), count)
        })
    }

    /// Tells the peer that no more will be written (close_notify). Reading goes on. Make a write
    /// that came to [`Progress::WantOutput`] again before: libssl holds a part of its record.
    pub fn shutdown(&mut self) {
        if self.paused || !self.established {
            return;
        }
        // SAFETY: empties this thread's error queue, which SSL_get_error(3) demands.
        unsafe { ffi::ERR_clear_error() };
        // SAFETY: a live connection that is not paused. 0 means that the peer has not answered
        // yet; an error other than want of room means that there is nobody to tell.
        let result = unsafe { ffi::SSL_shutdown(self.ssl) };
        // SAFETY: a live connection and its last result.
        let error = unsafe { ffi::SSL_get_error(self.ssl, result) };
        self.closing = result < 0 && error == ffi::SSL_ERROR_WANT_WRITE;
        drop(ErrorStack::take());
    }

    /// Drives the handshake, if it is not done, and then makes `call`. Returns the handshake's
    /// progress if it is still not done.
    fn once_established(
        &mut self,
        call: impl FnOnce(*mut SSL, *mut usize) -> c_int,
    ) -> Result<Progress, SslError> {
        if !self.established {
            match self.handshake()? {
                Progress::Done(_) => {}
                progress => return Ok(progress),
            }
        }
        self.call(call)
    }

    /// Calls libssl once, and tells what came of it.
    fn call(
        &mut self,
        call: impl FnOnce(*mut SSL, *mut usize) -> c_int,
    ) -> Result<Progress, SslError> {
        let mut count = 0;
        // SAFETY: empties this thread's error queue, which SSL_get_error(3) demands.
        unsafe { ffi::ERR_clear_error() };
        let result = call(self.ssl, &raw mut count);
        self.paused = false;
        if result == 1 {
            return Ok(Progress::Done(count));
        }
        // SAFETY: a live connection and its last result.
        match unsafe { ffi::SSL_get_error(self.ssl, result) } {
            ffi::SSL_ERROR_WANT_READ => Ok(Progress::WantInput),
            ffi::SSL_ERROR_WANT_WRITE => Ok(Progress::WantOutput),
            ffi::SSL_ERROR_ZERO_RETURN => Ok(Progress::Closed),
            ffi::SSL_ERROR_WANT_ASYNC => {
                self.paused = true;
                Ok(self.pause())
            }
            ffi::SSL_ERROR_WANT_ASYNC_JOB => Ok(Progress::NoJobs),
            _ => Err(SslError::Tls(ErrorStack::take())),
        }
    }

    fn pause(&self) -> Progress {
        match self.async_status() {
            Status::EAGAIN => Progress::Refused,
            _ => Progress::Paused,
        }
    }

    /// Takes the peer's bytes: `read` gets the room there is and returns how much it filled.
    /// Returns what `read` returned, 0 if there is no room.
    ///
    /// # Errors
    /// What `read` fails with.
    pub fn read_input(
        &mut self,
        read: impl FnOnce(&mut [u8]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let buffers = &mut *self.buffers.borrow_mut();
        let room = buffers.input.room();
        if room.is_empty() {
            return Ok(0);
        }
        let result = read(room);
        buffers.input.commit(*result.as_ref().unwrap_or(&0));
        result
    }

    /// Returns `true` if [`Ssl::read_input`] has room.
    pub fn has_input_room(&self) -> bool {
        self.buffers.borrow().input.len() < super::buffer::CAPACITY
    }

    /// Takes as many of `bytes`, which the peer sent, as there is room for. Returns how many were
    /// taken.
    pub fn push_input(&mut self, bytes: &[u8]) -> usize {
        self.buffers.borrow_mut().input.push(bytes)
    }

    /// Notes that the peer will send no more.
    pub fn end_input(&mut self) {
        self.buffers.borrow_mut().input_ended = true;
    }

    /// Hands the bytes to be sent to `write`, which returns how many it took. Returns that number;
    /// 0 if there is nothing to send.
    ///
    /// # Errors
    /// What `write` fails with.
    pub fn write_output(
        &mut self,
        write: impl FnOnce(&[u8]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let mut buffers = self.buffers.borrow_mut();
        if buffers.output.len() == 0 {
            return Ok(0);
        }
        let count = write(buffers.output.unread())?;
        buffers.output.consume(count);
        drop(buffers);
        if self.closing && count != 0 {
            self.shutdown();
        }
        Ok(count)
    }

    /// Returns how many bytes are to be sent.
    pub fn output_len(&self) -> usize {
        self.buffers.borrow().output.len()
    }

    /// Returns how many of the peer's bytes are not processed yet.
    pub fn input_len(&self) -> usize {
        self.buffers.borrow().input.len()
    }

    /// Returns `true` if a call is paused on a job.
    pub fn is_paused(&self) -> bool {
        self.paused
    }

    /// Returns `true` if the handshake is done.
    pub fn is_established(&self) -> bool {
        self.established
    }

    /// Returns how many bytes of plain text are decrypted already.
    pub fn pending(&self) -> usize {
        // SAFETY: a live connection.
        usize::try_from(unsafe { ffi::SSL_pending(self.ssl) }).unwrap_or(0)
    }

    /// Returns the version of TLS, e.g. `TLSv1.3`.
    pub fn version(&self) -> &'static str {
        // SAFETY: a live connection; libssl returns a static string.
        unsafe { std::ffi::CStr::from_ptr(ffi::SSL_get_version(self.ssl)) }
            .to_str()
            .unwrap_or("unknown")
    }

    /// Returns the name that the client asked for (SNI), if it did.
    pub fn server_name(&self) -> Option<String> {
        // SAFETY: a live connection; the name is NULL or a string that lives as long, as nothing else is called.
        unsafe {
            let name = ffi::SSL_get_servername(self.ssl, ffi::TLSEXT_NAMETYPE_host_name);
            let name = (!name.is_null()).then(|| std::ffi::CStr::from_ptr(name));
            name.and_then(|name| name.to_str().ok()).map(str::to_owned)
        }
    }

    /// Returns the cipher suite by its name in IANA's list; empty before there is one.
    pub fn cipher_suite(&self) -> &'static str {
        // SAFETY: a live connection; NULL is a suite of name "(NONE)"; libssl returns a static string.
        let name = unsafe {
            let suite = ffi::SSL_get_current_cipher(self.ssl);
            std::ffi::CStr::from_ptr(ffi::SSL_CIPHER_standard_name(suite))
        };
        name.to_str()
            .ok()
            .filter(|name| *name != "(NONE)")
            .unwrap_or("")
    }

    /// Returns the group of the key exchange, by libssl's name for it; empty if there was none.
    pub fn group(&self) -> &'static str {
        // SAFETY: a live connection; libssl returns a static string, or NULL for no group.
        unsafe {
            let group = ffi::SSL_ctrl(
                self.ssl,
                ffi::SSL_CTRL_GET_NEGOTIATED_GROUP,
                0,
                ptr::null_mut(),
            );
            let name = ffi::SSL_group_to_name(self.ssl, group as c_int);
            let name = (!name.is_null()).then(|| std::ffi::CStr::from_ptr(name));
            name.and_then(|name| name.to_str().ok()).unwrap_or("")
        }
    }

    /// Returns the peer's own certificate, if it has shown one, in DER.
    pub fn peer_certificate(&self) -> Option<Vec<u8>> {
        // SAFETY: a live connection, whose certificate is ours to free; NULL without one.
        let certificate =
            unsafe { Owned::new(ffi::SSL_get1_peer_certificate(self.ssl), ffi::X509_free) }?;
        // SAFETY: a live certificate; without a place libcrypto tells the length, with one it writes as much there.
        unsafe {
            let len = ffi::i2d_X509(certificate.as_ptr(), ptr::null_mut());
            let mut der = vec![0; usize::try_from(len).ok()?];
            let mut place = der.as_mut_ptr();
            (ffi::i2d_X509(certificate.as_ptr(), &raw mut place) == len).then_some(der)
        }
    }

    /// Returns the protocol chosen by ALPN, if one was.
    pub fn alpn_protocol(&self) -> Option<Vec<u8>> {
        let (mut name, mut len) = (ptr::null(), 0);
        // SAFETY: a live connection and places of ours.
        unsafe { ffi::SSL_get0_alpn_selected(self.ssl, &raw mut name, &raw mut len) };
        if name.is_null() {
            return None;
        }
        // SAFETY: so many bytes, which live as long as the connection.
        Some(unsafe { std::slice::from_raw_parts(name, len as usize) }.to_vec())
    }

    /// Returns `true` if the handshake resumed a session.
    pub fn session_reused(&self) -> bool {
        // SAFETY: a live connection.
        unsafe { ffi::SSL_session_reused(self.ssl) == 1 }
    }

    /// Returns the connection in libssl's terms, for calls that this type does not have.
    pub fn as_ptr(&self) -> *mut SSL {
        self.ssl
    }

    /// Offers the session of `other` for resumption. Returns `false` if `other` has no session.
    pub fn resume_session_of(&mut self, other: &Self) -> bool {
        // SAFETY: both live; the session is referenced by SSL_get1_session and given back.
        unsafe {
            let session = ffi::SSL_get1_session(other.ssl);
            if session.is_null() {
                return false;
            }
            let set = ffi::SSL_set_session(self.ssl, session) == 1;
            ffi::SSL_SESSION_free(session);
            set
        }
    }
}

impl Drop for Ssl {
    /// Resumes a paused call once more, cancelled, so that libssl unwinds by its own error path.
    /// The op in flight becomes nobody's.
    fn drop(&mut self) {
        // SAFETY: a live connection, on its thread; owned, and used no more.
        unsafe { close(self.ssl) };
    }
}

fn status_of(ssl: *mut SSL) -> Status {
    let mut status = 0;
    // SAFETY: a live connection and a place for the status.
    unsafe { ffi::SSL_get_async_status(ssl, &raw mut status) };
    Status(status)
}

/// The callback of an attached connection: made within a poll, or on the job that was refused.
extern "C" fn go_on(ssl: *mut SSL, arg: *mut c_void) -> c_int {
    // SAFETY: set by `attach`; boxed, and freed only after the connection.
    let Attached { lcore, notify } = unsafe { &*arg.cast::<Attached>() };
    tell(ssl, lcore, notify.clone());
    1
}

/// Tells `notify`, of a connection that `lcore` serves, of a completion, or of a refusal of the job that runs.
pub(super) fn tell(ssl: *mut SSL, lcore: &Lcore, notify: Notify) {
    match job::current() {
        Some(job) if status_of(ssl) == Status::EAGAIN => lcore.notify_of_refusal(notify, &job),
        _ => lcore.notify(notify),
    }
}
