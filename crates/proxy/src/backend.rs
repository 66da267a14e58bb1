//! Where the backend is: the addresses of its name, and which of them serves.
//!
//! ```text
//!   cores ── please (a connect failed) ──▶ thread that resolves ◀── please (SIGHUP) ── main
//!     ▲                                          │ may block
//!     └───── look now and then ── addresses ◀────┘
//! ```

use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};

use super::address::{Address, UNIX, resolve_server};

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
    addresses: Mutex<Vec<Address>>,
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
        let (directory, requests) = Self::of(name, resolve_server(name)?);
        if !name.starts_with(UNIX) && name.parse::<std::net::SocketAddr>().is_err() {
            let resolver = Arc::downgrade(&directory.0);
            let thread = thread::Builder::new().name("resolver".to_owned());
            thread
                .spawn(move || serve(&resolver, &requests))
                .context("cannot start the resolver's thread; raise the limit on threads")?;
        }
        Ok(directory)
    }

    fn of(name: &str, addresses: Vec<Address>) -> (Self, Receiver<()>) {
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

    /// What resolving came to.
    fn take(&self, resolved: Result<Vec<Address>>) {
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
    fn latest(&self) -> (u64, Rc<[Address]>) {
        let addresses = self
            .0
            .addresses
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        (self.changes(), Rc::from(addresses.as_slice()))
    }
}

/// As long as there is the directory, which has the other end of `requests`.
fn serve(directory: &Weak<Inner>, requests: &Receiver<()>) {
    while requests.recv().is_ok() {
        if let Some(inner) = directory.upgrade() {
            let resolved = resolve_server(&inner.name);
            Directory(inner).take(resolved);
        }
        thread::sleep(RESOLVE_EVERY);
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

fn list(addresses: &[Address]) -> String {
    let addresses: Vec<String> = addresses.iter().map(Address::to_string).collect();
    addresses.join(", ")
}

/// A core's view of the directory.
#[derive(Debug)]
pub struct Route {
    directory: Directory,
    change: u64,
    addresses: Rc<[Address]>,
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
    pub fn tour(&self) -> Tour {
        Tour {
            addresses: Rc::clone(&self.addresses),
            at: self.favourite,
            left: self.addresses.len(),
        }
    }

    /// `address` serves: connections from now on go there first.
    pub fn prefer(&mut self, address: &Address) {
        if let Some(position) = self.addresses.iter().position(|of| of == address) {
            self.favourite = position;
        }
    }
}

/// The addresses of one server that one connection tries, one after the other.
#[derive(Debug, Default)]
pub struct Tour {
    addresses: Rc<[Address]>,
    at: usize,
    left: usize,
}

impl Iterator for Tour {
    type Item = Address;

    fn next(&mut self) -> Option<Address> {
        self.left = self.left.checked_sub(1)?;
        let address = self.addresses.get(self.at % self.addresses.len().max(1))?;
        self.at += 1;
        Some(address.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(ports: &[u16]) -> Vec<Address> {
        let address = |port: &u16| Address::Ip(([127, 0, 0, 1], *port).into());
        ports.iter().map(address).collect()
    }

    #[test]
    fn every_address_is_tried_once_the_one_that_served_first() {
        let (directory, _requests) = Directory::of("name:0", addresses(&[1, 2, 3]));
        let mut route = Route::new(&directory);
        assert_eq!(route.tour().collect::<Vec<_>>(), addresses(&[1, 2, 3]));
        route.prefer(&addresses(&[2])[0]);
        assert_eq!(route.tour().collect::<Vec<_>>(), addresses(&[2, 3, 1]));
        route.prefer(&addresses(&[9])[0]);
        assert_eq!(route.tour().next(), Some(addresses(&[2])[0].clone()));
    }

    #[test]
    fn what_is_resolved_again_replaces_what_was_unless_it_fails() {
        let (directory, requests) = Directory::of("name:0", addresses(&[1, 2]));
        let mut route = Route::new(&directory);
        route.prefer(&addresses(&[2])[0]);
        directory.take(Err(anyhow::anyhow!("no answer")));
        directory.take(Ok(addresses(&[1, 2])));
        route.renew();
        assert_eq!(route.tour().next(), Some(addresses(&[2])[0].clone()));
        directory.take(Ok(addresses(&[4, 5])));
        route.renew();
        assert_eq!(route.tour().collect::<Vec<_>>(), addresses(&[4, 5]));
        // Whoever asks does not wait, however often.
        for _ in 0..3 {
            directory.refresh();
        }
        assert_eq!(requests.try_iter().count(), 1);
        drop(requests);
        directory.refresh();
    }

    #[test]
    fn a_name_is_told_with_its_addresses() {
        let (directory, _requests) = Directory::of("name:0", addresses(&[1, 2]));
        assert_eq!(directory.to_string(), "name:0 (127.0.0.1:1, 127.0.0.1:2)");
        let (literal, _requests) = Directory::of("127.0.0.1:1", addresses(&[1]));
        assert_eq!(literal.to_string(), "127.0.0.1:1");
    }
}
