//! A core's share of a pool: whose turn it is, and what became of it.

use std::cell::{Cell, RefCell};
use std::fmt::Write as _;
use std::rc::Rc;
use std::sync::Arc;

use super::{Pool, Server};
use crate::address::Address;
use crate::backend::{Route, Tour};
use crate::config::{Balance, SendProxy};

/// What a core counts of a server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerCounts {
    /// Of its pool.
    pub pool: String,
    /// Its own name.
    pub server: String,
    /// Whether it is up.
    pub up: bool,
    /// Connections open, or being made.
    pub open: u64,
    /// Connections made.
    pub connects: u64,
    /// Connections that could not be made.
    pub failures: u64,
}

/// A server as one core sees it.
#[derive(Debug)]
struct Seen {
    route: RefCell<Route>,
    open: Cell<u64>,
    connects: Cell<u64>,
    failures: Cell<u64>,
    /// What it is owed: of all that are up, the one that is owed most is next (nginx's smooth weighted
    /// round robin).
    owed: Cell<i64>,
}

/// A core's view of a pool.
#[derive(Debug)]
pub struct Balancer {
    pool: Arc<Pool>,
    seen: Vec<Seen>,
}

impl Balancer {
    /// Of `pool`, nothing of which has been used yet.
    pub fn new(pool: &Arc<Pool>) -> Self {
        let seen = pool.servers.iter().map(|server| Seen {
            route: RefCell::new(Route::new(&server.directory)),
            open: Cell::new(0),
            connects: Cell::new(0),
            failures: Cell::new(0),
            owed: Cell::new(0),
        });
        Self {
            pool: Arc::clone(pool),
            seen: seen.collect(),
        }
    }

    /// What the pool's servers are told of clients, if it says so itself.
    pub fn send_proxy(&self) -> Option<SendProxy> {
        self.pool.settings.send_proxy
    }

    /// Whether it is that of `pool`.
    pub fn is_of(&self, pool: &Arc<Pool>) -> bool {
        Arc::ptr_eq(&self.pool, pool)
    }

    /// Takes over what names were resolved to since, if to anything else.
    pub fn renew(&self) {
        for seen in &self.seen {
            seen.route.borrow_mut().renew();
        }
    }

    /// What was counted.
    pub fn counts(&self) -> impl Iterator<Item = ServerCounts> {
        self.servers().map(|(server, seen)| ServerCounts {
            pool: self.pool.name.clone(),
            server: server.name.clone(),
            up: server.is_up(),
            open: seen.open.get(),
            connects: seen.connects.get(),
            failures: seen.failures.get(),
        })
    }

    fn servers(&self) -> impl Iterator<Item = (&Server, &Seen)> {
        self.pool.servers.iter().zip(&self.seen)
    }

    /// Whose turn it is, among those that are up. If none is, all may be: a check may be wrong.
    fn pick(&self) -> usize {
        if self.seen.len() == 1 {
            return 0;
        }
        let none_is_up = !self.pool.servers.iter().any(Server::is_up);
        let may = |server: &Server| none_is_up || server.is_up();
        let least = self.servers().filter(|(server, _)| may(server));
        let load =
            |server: &Server, seen: &Seen| (seen.open.get() << 32) / u64::from(server.weight);
        let least = least.map(|(server, seen)| load(server, seen)).min();
        let by_connections = self.pool.balance() == Balance::LeastConnections;
        // Of those with the fewest connections, too, each gets its turn.
        let takes_part = |server: &Server, seen: &Seen| {
            may(server) && !(by_connections && Some(load(server, seen)) != least)
        };
        let (mut picked, mut most, mut sum) = (0, i64::MIN, 0);
        for (at, (server, seen)) in self.servers().enumerate() {
            if !takes_part(server, seen) {
                continue;
            }
            sum += i64::from(server.weight);
            let owed = seen.owed.get() + i64::from(server.weight);
            seen.owed.set(owed);
            if owed > most {
                (picked, most) = (at, owed);
            }
        }
        if let Some(seen) = self.seen.get(picked) {
            seen.owed.set(seen.owed.get() - sum);
        }
        picked
    }
}

/// The addresses that one connection tries, one after the other: those of the server whose turn it is, then those of the
/// others, those that are up first. While it lives, its connection counts as the server's.
#[derive(Debug)]
pub struct Attempts {
    balancer: Rc<Balancer>,
    /// Position of the server whose turn it was.
    first: usize,
    /// How far from there we are: once round for those that are up, and once more for the others.
    step: usize,
    /// Position of the server that is tried.
    server: usize,
    tour: Tour,
    failed: String,
}

impl Attempts {
    /// For a new connection.
    pub fn new(balancer: &Rc<Balancer>) -> Self {
        let first = balancer.pick();
        let mut this = Self {
            balancer: Rc::clone(balancer),
            first,
            step: 0,
            server: first,
            tour: Tour::default(),
            failed: String::new(),
        };
        this.enter(first);
        this
    }

    fn seen(&self) -> Option<&Seen> {
        self.balancer.seen.get(self.server)
    }

    fn enter(&mut self, server: usize) {
        self.server = server;
        if let Some(seen) = self.balancer.seen.get(server) {
            seen.open.set(seen.open.get() + 1);
            self.tour = seen.route.borrow().tour();
        }
    }

    fn next_server(&mut self) -> Option<usize> {
        let servers = &self.balancer.pool.servers;
        while self.step + 1 < 2 * servers.len() {
            self.step += 1;
            let at = (self.first + self.step) % servers.len();
            let wants_up = self.step < servers.len();
            if at != self.first && servers[at].is_up() == wants_up {
                return Some(at);
            }
        }
        None
    }

    fn leave(&self) {
        if let Some(seen) = self.seen() {
            seen.open.set(seen.open.get() - 1);
        }
    }

    /// Notes that `address` failed.
    pub fn fail(&mut self, address: &Address, error: &std::io::Error) {
        if let Some(seen) = self.seen() {
            seen.failures.set(seen.failures.get() + 1);
        }
        let separator = if self.failed.is_empty() { "" } else { "; " };
        // Nothing can go wrong with a string.
        let _ = write!(self.failed, "{separator}{address}: {error}");
    }

    /// The addresses that failed, with what each failed with; empty if there was none.
    pub fn failed(&self) -> &str {
        &self.failed
    }

    /// The connection to `address` is made.
    pub fn connected(&self, address: &Address) {
        let Some(seen) = self.seen() else { return };
        seen.connects.set(seen.connects.get() + 1);
        if !self.failed.is_empty() {
            seen.route.borrow_mut().prefer(address);
            self.refresh();
        }
    }

    /// Addresses failed: whether names have others by now is worth asking.
    pub fn refresh(&self) {
        self.balancer.pool.refresh();
    }
}

impl Iterator for Attempts {
    type Item = Address;

    fn next(&mut self) -> Option<Address> {
        loop {
            if let Some(address) = self.tour.next() {
                return Some(address);
            }
            let next = self.next_server()?;
            self.leave();
            self.enter(next);
        }
    }
}

impl Drop for Attempts {
    fn drop(&mut self) {
        self.leave();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;
    use crate::config::Backend;

    fn balancer(settings: &str) -> (Arc<Pool>, Rc<Balancer>) {
        let settings: Backend = toml::from_str(settings).unwrap();
        let pool = Pool::new("pool", &settings, |at| at.to_string()).unwrap();
        let balancer = Rc::new(Balancer::new(&pool));
        (pool, balancer)
    }

    const WEIGHTED: &str =
        "server = [{ address = \"127.0.0.1:1\", weight = 2 }, { address = \"127.0.0.1:2\" }]";

    fn port(address: &Address) -> u16 {
        match address {
            Address::Ip(address) => address.port(),
            Address::Unix(_) => 0,
        }
    }

    #[test]
    fn turns_go_by_weight_and_not_to_those_that_are_down() {
        let (pool, balancer) = balancer(WEIGHTED);
        let turns = || -> Vec<u16> {
            let next = |_| port(&Attempts::new(&balancer).next().unwrap());
            (0..6).map(next).collect()
        };
        assert_eq!(turns(), [1, 2, 1, 1, 2, 1]);
        pool.servers[0].up.store(false, Ordering::Relaxed);
        assert_eq!(turns(), [2; 6]);
        pool.servers[1].up.store(false, Ordering::Relaxed);
        assert!(turns().contains(&1), "a check may be wrong");
    }

    #[test]
    fn the_fewest_connections_by_weight() {
        let (_pool, balancer) = balancer(&format!("balance = \"least-connections\"\n{WEIGHTED}"));
        let mut open: Vec<Attempts> = (0..6).map(|_| Attempts::new(&balancer)).collect();
        let of_first = |open: &mut Vec<Attempts>| {
            let firsts = open.iter_mut().map(|attempts| attempts.server);
            firsts.filter(|server| *server == 0).count()
        };
        assert_eq!(of_first(&mut open), 4);
        open.retain(|attempts| attempts.server == 1);
        open.extend((0..3).map(|_| Attempts::new(&balancer)));
        assert_eq!(of_first(&mut open), 3, "those that have ended do not count");
        drop(open);
        assert!(balancer.counts().all(|server| server.open == 0));
    }

    #[test]
    fn every_server_is_tried_once_those_that_are_down_last() {
        let servers: Vec<String> = (1..=4)
            .map(|port| format!("{{ address = \"127.0.0.1:{port}\" }}"))
            .collect();
        let (pool, balancer) = balancer(&format!("server = [{}]", servers.join(", ")));
        pool.servers[1].up.store(false, Ordering::Relaxed);
        let tried: Vec<u16> = Attempts::new(&balancer)
            .map(|address| port(&address))
            .collect();
        assert_eq!(tried, [1, 3, 4, 2]);
        let counts: Vec<u64> = balancer.counts().map(|server| server.open).collect();
        assert_eq!(counts, [0; 4]);
    }
}
