//! Packets in place of sockets: our own TCP/IP stack, one per core, over a queue pair of a port.

mod flow;
#[cfg(feature = "dpdk")]
pub mod port;
mod report;
mod settings;

use std::cell::{RefCell, RefMut};
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::rc::Rc;

use spinlane::Conn;
use spinlane_net::{ConnectError, FlowId, FrameIo, Instant, ListenerId, Stack};

use super::address::Address;
use super::carrier::{Carrier, Listener};
use super::sockets;
pub use flow::Flow;
pub use report::{PacketReport, Port};
pub use settings::{PacketArgs, Via};

/// What is said where there is no DPDK.
pub const NO_DPDK: &str = "this program was built without DPDK; build it with --features dpdk";

/// A core's stack, and the names of the connections on it.
#[derive(Debug)]
struct Core<F> {
    stack: Stack<F>,
    /// By the flow's place in the stack's table.
    names: Vec<Option<Conn>>,
}

impl<F: FrameIo> Core<F> {
    fn name(&mut self, id: FlowId, conn: Option<Conn>) {
        let at = id.index();
        if at >= self.names.len() {
            self.names.resize(at + 1, None);
        }
        self.names[at] = conn;
    }
}

/// A core's connections over its stack.
#[derive(Debug)]
pub struct Packets<F> {
    core: Rc<RefCell<Core<F>>>,
    /// `None`: nobody comes to us.
    listener: Option<ListenerId>,
    via: Via,
}

impl<F: Port> Packets<F> {
    /// Those that come to `listener` of a stack, if to any; backends are connected to by `via`.
    pub fn new(stack: Stack<F>, listener: Option<ListenerId>, via: Via) -> Self {
        let names = Vec::new();
        Self {
            core: Rc::new(RefCell::new(Core { stack, names })),
            listener,
            via,
        }
    }

    fn core(&self) -> RefMut<'_, Core<F>> {
        self.core.borrow_mut()
    }
}

/// The lcore's clock as the stack counts.
fn instant(now_ns: u64) -> Instant {
    Instant::from_micros(now_ns / 1000)
}

impl<F: Port> Listener for Packets<F> {
    type Client = Flow<F>;
    type Backend = Backend<F>;

    const ACCEPT_EVERY_NS: u64 = 0;

    fn accept(&mut self) -> io::Result<(Flow<F>, SocketAddr, usize)> {
        let mut core = self.core();
        while let Some(id) = self
            .listener
            .and_then(|listener| core.stack.accept(listener))
        {
            if let Some((peer, _)) = core.stack.addresses(id) {
                return Ok((Flow::new(&self.core, id), peer, 0));
            }
        }
        Err(ErrorKind::WouldBlock.into())
    }

    fn close(&mut self) {
        if let Some(listener) = self.listener {
            self.core().stack.stop_listening(listener);
        }
    }

    fn connect(&mut self, address: &Address) -> io::Result<Backend<F>> {
        let address = match (self.via, address) {
            (Via::Kernel, _) => return sockets::connect(address).map(Backend::Socket),
            (Via::Port, Address::Ip(address)) => *address,
            (Via::Port, Address::Unix(_)) => {
                let why = "a port does not lead to unix sockets; give --backend-via kernel";
                return Err(io::Error::new(ErrorKind::Unsupported, why));
            }
        };
        let opened = self.core().stack.connect(address);
        let id = opened.map_err(|error| {
            let kind = match error {
                ConnectError::NoRoute(_) => ErrorKind::NetworkUnreachable,
                ConnectError::NoPort(_) => ErrorKind::AddrNotAvailable,
                ConnectError::Address(_) => ErrorKind::InvalidInput,
                ConnectError::NoRoom => ErrorKind::OutOfMemory,
            };
            io::Error::new(kind, error)
        })?;
        Ok(Backend::Flow(Flow::new(&self.core, id)))
    }

    fn receive(&mut self, now_ns: u64) -> bool {
        self.core().stack.receive(instant(now_ns), |_, _| 0) != 0
    }

    fn next_news(&mut self) -> Option<Conn> {
        let core = &mut *self.core();
        // One without a name has not been looked at yet, or never will be again.
        while let Some(id) = core.stack.next_ready() {
            if let Some(conn) = core.names.get(id.index()).copied().flatten() {
                return Some(conn);
            }
        }
        None
    }

    fn transmit(&mut self, now_ns: u64) {
        self.core().stack.transmit(instant(now_ns));
    }

    fn is_quiet(&self) -> bool {
        self.core().stack.flows() == 0
    }

    fn report(&self) -> Option<Box<PacketReport>> {
        Some(Box::new(PacketReport::of(&mut self.core().stack)))
    }
}

/// A connection to the backend.
#[derive(Debug)]
pub enum Backend<F: FrameIo> {
    /// By the same stack.
    Flow(Flow<F>),
    /// By the kernel.
    Socket(std::net::TcpStream),
}

/// Calls the carrier that there is.
macro_rules! either {
    ($self:ident, $carrier:ident => $call:expr) => {
        match $self {
            Backend::Flow($carrier) => $call,
            Backend::Socket($carrier) => $call,
        }
    };
}

impl<F: FrameIo> Carrier for Backend<F> {
    fn fill(&mut self, room: &mut [u8]) -> io::Result<usize> {
        either!(self, carrier => carrier.fill(room))
    }

    fn drain(&mut self, bytes: &[u8]) -> io::Result<usize> {
        either!(self, carrier => carrier.drain(bytes))
    }

    fn end(&mut self) {
        either!(self, carrier => carrier.end());
    }

    fn reset_when_dropped(&mut self) {
        either!(self, carrier => carrier.reset_when_dropped());
    }

    fn is_connected(&self) -> io::Result<bool> {
        either!(self, carrier => carrier.is_connected())
    }

    fn tell(&mut self, conn: Conn) -> bool {
        either!(self, carrier => carrier.tell(conn))
    }

    fn socket(&self) -> Option<BorrowedFd<'_>> {
        either!(self, carrier => carrier.socket())
    }
}
