//! How far a connection got.

/// How far a call on a connection got, whichever front-end the connection is of. Lives here since what it tells
/// is what an lcore does next: which queue the connection is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Done; for reads and writes, this many bytes.
    Done(usize),
    /// More of the peer's bytes are needed: give it some (`read_input`), then call again.
    WantInput,
    /// The output has no room: take some of it (`write_output`), then call again.
    WantOutput,
    /// An op is with a device (status OK). A notification says when to call again.
    Paused,
    /// The queue pair was full (status EAGAIN). The connection is in its retry queue; a notification says
    /// when there is room.
    Refused,
    /// The thread's jobs are all in use (ASYNC_NO_JOBS); call again later.
    NoJobs,
    /// The peer has closed the connection properly; of a write: so have we.
    Closed,
}
