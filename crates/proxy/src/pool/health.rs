//! Signs of life: a thread per pool connects to each server now and then.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use socket2::{Domain, SockAddr, Socket, Type};

use super::{Pool, Server};
use crate::address::Address;
use crate::backend::Route;
use crate::config::Check;

/// What a server said last, and how often in a row.
#[derive(Clone, Copy, Debug, Default)]
struct Row {
    lives: bool,
    times: usize,
}

/// Watches `pool`, as long as there is one.
///
/// # Errors
/// There can be no thread.
pub fn watch(pool: &Arc<Pool>, check: Check) -> Result<()> {
    let pool = Arc::downgrade(pool);
    let thread = thread::Builder::new().name("health".to_owned());
    thread
        .spawn(move || run(&pool, &check))
        .context("cannot start the thread of health checks; raise the limit on threads")?;
    Ok(())
}

fn run(pool: &Weak<Pool>, check: &Check) {
    let mut rows = Vec::new();
    while let Some(pool) = pool.upgrade() {
        rows.resize(pool.servers.len(), Row::default());
        for (server, row) in pool.servers.iter().zip(&mut rows) {
            let answer = ask(server, check.timeout.0);
            note(&pool.name, server, row, &answer, check);
        }
        drop(pool);
        thread::sleep(check.interval.0);
    }
}

/// Whether an address of the server accepts.
fn ask(server: &Server, timeout: Duration) -> std::io::Result<()> {
    let mut answer = Err(std::io::ErrorKind::AddrNotAvailable.into());
    for address in Route::new(&server.directory).tour() {
        answer = connect(&address, timeout);
        if answer.is_ok() {
            break;
        }
    }
    answer
}

fn connect(address: &Address, timeout: Duration) -> std::io::Result<()> {
    let (domain, address) = match address {
        Address::Ip(address) => (Domain::for_address(*address), SockAddr::from(*address)),
        Address::Unix(path) => (Domain::UNIX, SockAddr::unix(path)?),
    };
    Socket::new(domain, Type::STREAM, None)?.connect_timeout(&address, timeout)
}

/// A server changes its state after enough answers of the other kind in a row.
fn note(pool: &str, server: &Server, row: &mut Row, answer: &std::io::Result<()>, check: &Check) {
    let lives = answer.is_ok();
    if row.lives != lives {
        *row = Row { lives, times: 0 };
    }
    row.times = row.times.saturating_add(1);
    let enough = if lives { check.rise } else { check.fall };
    if server.is_up() == lives || row.times < enough.get() {
        return;
    }
    server.up.store(lives, Ordering::Relaxed);
    let name = &server.name;
    match answer {
        Ok(()) => tracing::info!("backend {pool}: {name} is up again"),
        Err(error) => tracing::warn!("backend {pool}: {name} is down: {error}"),
    }
}
