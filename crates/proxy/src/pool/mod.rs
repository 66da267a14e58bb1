//! Servers that do the same, and which of them gets the next connection.
//!
//! ```text
//!   Pool (shared) ── servers, each up or down ◀── health: a thread asks for signs of life
//!     │
//!   Balancer (a core's) ── attempts ──▶ the server whose turn it is, then the others
//! ```
//! Cores share nothing but whether a server is up: each counts its own connections.

mod balancer;
mod health;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};

use super::backend::Directory;
use crate::config::{self, Balance};
pub use balancer::{Attempts, Balancer, ServerCounts};

/// A server of a pool.
#[derive(Debug)]
pub struct Server {
    /// As given.
    pub name: String,
    directory: Directory,
    weight: u32,
    up: AtomicBool,
}

impl Server {
    /// Whether it gave signs of life, as far as anybody asked.
    pub fn is_up(&self) -> bool {
        // Nothing is read that the other side wrote before.
        self.up.load(Ordering::Relaxed)
    }
}

/// Servers that do the same.
#[derive(Debug)]
pub struct Pool {
    /// What listeners call it.
    pub name: String,
    settings: config::Backend,
    servers: Vec<Server>,
}

impl Pool {
    /// Resolves the servers' names, and starts the health checks if `settings` want them: they end with the pool.
    ///
    /// # Errors
    /// A name has no address, or there can be no thread; the text names the server as `culprit` does, by its place.
    pub fn new(
        name: &str,
        settings: &config::Backend,
        culprit: impl Fn(usize) -> String,
    ) -> Result<Arc<Self>> {
        let server = |(at, server): (usize, &config::Server)| {
            let directory = Directory::new(&server.address);
            Ok(Server {
                name: server.address.clone(),
                directory: directory.with_context(|| culprit(at))?,
                weight: u32::try_from(server.weight.get())?,
                up: AtomicBool::new(true),
            })
        };
        let servers = settings.server.iter().enumerate().map(server);
        let pool = Arc::new(Self {
            name: name.to_owned(),
            settings: settings.clone(),
            servers: servers.collect::<Result<_>>()?,
        });
        if let Some(check) = &settings.check {
            health::watch(&pool, check.clone())?;
        }
        Ok(pool)
    }

    /// Whether it is the one that `name` and `settings` say.
    pub fn is(&self, name: &str, settings: &config::Backend) -> bool {
        self.name == name && self.settings == *settings
    }

    /// Asks for the names of its servers to be resolved again, and does not wait for it.
    pub fn refresh(&self) {
        for server in &self.servers {
            server.directory.refresh();
        }
    }

    fn balance(&self) -> Balance {
        self.settings.balance
    }
}

impl std::fmt::Display for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let [only] = &self.servers[..] {
            return write!(f, "{}", only.directory);
        }
        write!(f, "{}:", self.name)?;
        for server in &self.servers {
            write!(f, " {} (weight {})", server.directory, server.weight)?;
        }
        Ok(())
    }
}
