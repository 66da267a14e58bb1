//! Who is told that an op has ended, or that there is room for one that was refused.

use std::task::Waker;

/// Names a connection to the application that owns it; opaque here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Conn(pub u64);

/// Whom to tell, and how. Told on the poll core's stack.
#[derive(Clone, Debug)]
pub enum Notify {
    /// The name goes into the poll core's ready queue.
    Conn(Conn),
    /// An asynchronous Rust program's task is woken.
    Waker(Waker),
    /// What another language supplies.
    Foreign(Foreign),
}

/// A notification of another language. The crate that speaks the language makes it and carries it
/// out; for all others it is opaque.
#[derive(Clone, Copy, Debug)]
pub struct Foreign {
    call: fn(*const (), *mut ()),
    function: *const (),
    argument: *mut (),
}

impl Foreign {
    /// Makes a notification that `call` carries out. `call` gets the other two arguments; it must
    /// be small and must not block.
    pub const fn new(call: fn(*const (), *mut ()), function: *const (), argument: *mut ()) -> Self {
        Self {
            call,
            function,
            argument,
        }
    }

    /// Returns the function that is called.
    pub fn function(self) -> *const () {
        self.function
    }

    /// Returns the argument of that function.
    pub fn argument(self) -> *mut () {
        self.argument
    }

    /// Makes the notification.
    pub fn call(self) {
        (self.call)(self.function, self.argument);
    }
}

impl Notify {
    /// Tells whoever is to be told; a name is handed to `queue`.
    #[inline]
    pub fn tell(self, queue: impl FnOnce(Conn)) {
        match self {
            Self::Conn(conn) => queue(conn),
            Self::Waker(waker) => waker.wake(),
            Self::Foreign(foreign) => foreign.call(),
        }
    }
}

impl From<Conn> for Notify {
    fn from(conn: Conn) -> Self {
        Self::Conn(conn)
    }
}

impl From<Waker> for Notify {
    fn from(waker: Waker) -> Self {
        Self::Waker(waker)
    }
}

impl From<Foreign> for Notify {
    fn from(foreign: Foreign) -> Self {
        Self::Foreign(foreign)
    }
}
