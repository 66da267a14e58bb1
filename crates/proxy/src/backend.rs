//! Where the backend is: the addresses of its name, and which of them serves.
//!
//! ```text
//!   cores ── please (a connect failed) ──▶ thread that resolves ◀── please (SIGHUP) ── main
//!     ▲                                          │ may block
//!     └───── look now and then ── addresses ◀────┘
//! ```

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};

use super::address::resolve;

/// A name is resolved this often at most, however many connects fail.
const RESOLVE_EVERY: Duration = Duration::from_secs(1);

/// The backend's name and addresses. Clones share them.
#[derive(Clone, Debug)]
pub struct Directory(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// As given: `HOST:PORT`.
    name: String,
    /// In the order in which they are tried; at least one.
    addresses: Mutex<Vec<SocketAddr>>,
    /// How often the addresses have changed.
    changes: AtomicU64,
    /// Asks the thread. One request is enough for all.
    requests: SyncSender<()>,
}

impl Directory {
    /// Resolves `name`, and starts a thread that does it again when asked to, unless `name` is an address.
    ///
    /// # Errors
    /// `name` has no address; or there can be no thread.
    pub fn new(name: &str) -> Result<Self> {
        let (directory, requests) = Self::of(name, resolve(name)?);
        if name.parse::<SocketAddr>().is_err() {
            let resolver = directory.clone();
            let thread = thread::Builder::new().name("resolver".to_owned());
            thread
                .spawn(move || resolver.serve(&requests))
                .context("cannot start the resolver's thread; raise the limit on threads")?;
        }
        Ok(directory)
    }

    fn of(name: &str, addresses: Vec<SocketAddr>) -> (Self, Receiver<()>) {
        let (sender, requests) = sync_channel(1);
        let inner = Inner {
            name: name.to_owned(),
            addresses: Mutex::new(addresses),
            changes: AtomicU64::new(0),
            requests: sender,
        };
        (Self(Arc::new(inner)), requests)
    }

    /// Asks for the name to be resolved again, and does not wait for it.
    pub fn refresh(&self) {
        // Full: it was asked for already. Disconnected: an address stays what it is.
        let _ = self.0.requests.try_send(());
    }

    /// As long as the program runs, since a directory that is asked keeps itself alive.
    fn serve(&self, requests: &Receiver<()>) {
        while requests.recv().is_ok() {
            self.take(resolve(&self.0.name));
            thread::sleep(RESOLVE_EVERY);
        }
    }

    /// What resolving came to.
    fn take(&self, resolved: Result<Vec<SocketAddr>>) {
        let name = &self.0.name;
        let found = match resolved {
            Ok(found) => found,
            Err(error) => {
                tracing::warn!("--backend {name}: {error:#}; the addresses found before are kept");
                return;
            }
        };
        let mut addresses = self
            .0
            .addresses
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if *addresses != found {
            tracing::info!("--backend {name} is now at {}", list(&found));
            *addresses = found;
            self.0.changes.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn changes(&self) -> u64 {
        // What belongs to it is read under the lock.
        self.0.changes.load(Ordering::Relaxed)
    }

    /// The addresses and which change brought them. Takes a lock: not for every connection.
    fn latest(&self) -> (u64, Rc<[SocketAddr]>) {
        let addresses = self
            .0
            .addresses
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        (self.changes(), Rc::from(addresses.as_slice()))
    }
}

impl std::fmt::Display for Directory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (_, addresses) = self.latest();
        match (&*addresses, &self.0.name) {
            ([address], name) if address.to_string() == *name => f.write_str(name),
            (addresses, name) => write!(f, "{name} ({})", list(addresses)),
        }
    }
}

fn list(addresses: &[SocketAddr]) -> String {
    let addresses: Vec<String> = addresses.iter().map(SocketAddr::to_string).collect();
    addresses.join(", ")
}

/// A core's view of the directory.
#[derive(Debug)]
pub struct Route {
    directory: Directory,
    change: u64,
    addresses: Rc<[SocketAddr]>,
    /// Position of the address that served last: the first to be tried.
    favourite: usize,
}

impl Route {
    /// To the addresses as they are now.
    pub fn new(directory: &Directory) -> Self {
        let (change, addresses) = directory.latest();
        Self {
            directory: directory.clone(),
            change,
            addresses,
            favourite: 0,
        }
    }

    /// Takes over what was resolved since, if anything.
    pub fn renew(&mut self) {
        if self.directory.changes() != self.change {
            *self = Self::new(&self.directory);
        }
    }

    /// All addresses for one connection, the one that served last first.
    pub fn attempts(&self) -> Attempts {
        Attempts {
            addresses: Rc::clone(&self.addresses),
            at: self.favourite,
            left: self.addresses.len(),
            failed: String::new(),
        }
    }

    /// `address` serves: connections from now on go there first.
    pub fn prefer(&mut self, address: SocketAddr) {
        if let Some(position) = self.addresses.iter().position(|of| *of == address) {
            self.favourite = position;
        }
    }

    /// An address failed: whether the name has others by now is worth asking.
    pub fn refresh(&self) {
        self.directory.refresh();
    }
}

/// The addresses that one connection tries, one after the other.
#[derive(Debug)]
pub struct Attempts {
    addresses: Rc<[SocketAddr]>,
    at: usize,
    left: usize,
    failed: String,
}

impl Attempts {
    /// Notes that `address` failed.
    pub fn fail(&mut self, address: SocketAddr, error: &std::io::Error) {
        use std::fmt::Write as _;
        let separator = if self.failed.is_empty() { "" } else { "; " };
        // Nothing can go wrong with a string.
        let _ = write!(self.failed, "{separator}{address}: {error}");
    }

    /// The addresses that failed, with what each failed with; empty if there was none.
    pub fn failed(&self) -> &str {
        &self.failed
    }
}

impl Iterator for Attempts {
    type Item = SocketAddr;

    fn next(&mut self) -> Option<SocketAddr> {
        self.left = self.left.checked_sub(1)?;
        let address = self.addresses.get(self.at % self.addresses.len().max(1))?;
        self.at += 1;
        Some(*address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(ports: &[u16]) -> Vec<SocketAddr> {
        let address = |port: &u16| SocketAddr::from(([127, 0, 0, 1], *port));
        ports.iter().map(address).collect()
    }

    #[test]
    fn every_address_is_tried_once_the_one_that_served_first() {
        let (directory, _requests) = Directory::of("name:0", addresses(&[1, 2, 3]));
        let mut route = Route::new(&directory);
        assert_eq!(route.attempts().collect::<Vec<_>>(), addresses(&[1, 2, 3]));
        route.prefer(addresses(&[2])[0]);
        assert_eq!(route.attempts().collect::<Vec<_>>(), addresses(&[2, 3, 1]));
        route.prefer(addresses(&[9])[0]);
        assert_eq!(route.attempts().next(), Some(addresses(&[2])[0]));
    }

    #[test]
    fn what_is_resolved_again_replaces_what_was_unless_it_fails() {
        let (directory, requests) = Directory::of("name:0", addresses(&[1, 2]));
        let mut route = Route::new(&directory);
        route.prefer(addresses(&[2])[0]);
        directory.take(Err(anyhow::anyhow!("no answer")));
        directory.take(Ok(addresses(&[1, 2])));
        route.renew();
        assert_eq!(route.attempts().next(), Some(addresses(&[2])[0]));
        directory.take(Ok(addresses(&[4, 5])));
        route.renew();
        assert_eq!(route.attempts().collect::<Vec<_>>(), addresses(&[4, 5]));
        // Whoever asks does not wait, however often.
        for _ in 0..3 {
            route.refresh();
        }
        assert_eq!(requests.try_iter().count(), 1);
        drop(requests);
        route.refresh();
    }

    #[test]
    fn what_failed_is_named() {
        let (directory, _requests) = Directory::of("name:0", addresses(&[1, 2]));
        assert_eq!(directory.to_string(), "name:0 (127.0.0.1:1, 127.0.0.1:2)");
        let mut attempts = Route::new(&directory).attempts();
        let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        while let Some(address) = attempts.next() {
            attempts.fail(address, &refused);
        }
        let text = "127.0.0.1:1: connection refused; 127.0.0.1:2: connection refused";
        assert_eq!(attempts.failed(), text);
        let (literal, _requests) = Directory::of("127.0.0.1:1", addresses(&[1]));
        assert_eq!(literal.to_string(), "127.0.0.1:1");
    }
}
