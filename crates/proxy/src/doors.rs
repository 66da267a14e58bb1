//! What the configuration comes to: listeners with their certificates, and the backends behind them.
//!
//! ```text
//!   Config ──▶ Running { Door, Pool }  by the main thread, at the start and at SIGHUP
//!                 │ the cores look now and then
//!                 ▼
//!              Doors { CoreDoor, Balancer }  a core's own; connections keep those that they came by
//! ```

use std::net::{IpAddr, SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Result, bail};

use super::carrier::Carrier;
use super::client::Client;
use super::config::{self, Config, Limits, Listener, Net, Origin, RESPOND, SendProxy};
use super::context::{Context, Lasting};
use super::pool::{Balancer, Pool, ServerCounts};
use super::{DEFAULT_ADDRESS, sockets};

/// A listener's sockets, one per core, until that closes it; none where clients come from a port.
pub type Sockets = Arc<[Mutex<Option<Arc<TcpListener>>>]>;

/// What the configuration comes to.
pub struct Running {
    /// What the cores work by.
    pub limits: Limits,
    /// In the order of the configuration; at least one.
    pub doors: Vec<Door>,
    pools: Vec<Arc<Pool>>,
}

/// A listener with what is behind it.
pub struct Door {
    /// As said.
    listen: Option<String>,
    /// Where clients find it.
    pub address: SocketAddr,
    /// Of the kernel.
    sockets: Sockets,
    /// Certificates, keys and settings.
    pub context: Context,
    /// Backends by name and protocol; `None` is the built-in responder.
    rules: Vec<(config::Route, Option<Arc<Pool>>)>,
    /// For all others.
    fallback: Option<Arc<Pool>>,
    send_proxy: SendProxy,
    proxy_from: Arc<[Net]>,
}

impl Running {
    /// Reads all files that `config` names, resolves its names, and listens on sockets for so many cores; 0: on none. What of
    /// `before` is said again is kept.
    ///
    /// # Errors
    /// Something cannot be had; the text names it.
    pub fn new(
        config: &Config,
        lasting: &Lasting,
        cores: usize,
        before: Option<&Self>,
    ) -> Result<Self> {
        let mut pools = Vec::new();
        for (name, settings) in &config.backend {
            let culprit = |at: usize| {
                let key = format!("backend.{name}.server.{at}.address");
                config.origin.name(&key, &settings.server[at].address)
            };
            pools.push(pool(name, settings, culprit, before)?);
        }
        let mut doors = Vec::new();
        for listener in &config.listener {
            doors.push(Door::new(
                listener,
                (config, lasting, cores),
                before,
                &mut pools,
            )?);
        }
        Ok(Self {
            limits: config.limits(),
            doors,
            pools,
        })
    }

    /// The sockets of the core at `position`.
    pub fn sockets(&self, position: usize) -> Vec<Arc<TcpListener>> {
        self.slots(position)
            .filter_map(|slot| lock(slot).clone())
            .collect()
    }

    /// Lets go of the sockets of the core at `position`, so that they close with the core's own hold of them.
    pub fn close(&self, position: usize) {
        for slot in self.slots(position) {
            lock(slot).take();
        }
    }

    fn slots(&self, position: usize) -> impl Iterator<Item = &Mutex<Option<Arc<TcpListener>>>> {
        self.doors
            .iter()
            .filter_map(move |door| door.sockets.get(position))
    }

    /// Asks for all names of servers to be resolved again.
    pub fn refresh(&self) {
        for pool in &self.pools {
            pool.refresh();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Door {
    fn new(
        listener: &Listener,
        (config, lasting, cores): (&Config, &Lasting, usize),
        before: Option<&Running>,
        pools: &mut Vec<Arc<Pool>>,
    ) -> Result<Self> {
        let context = Context::new(listener, config, lasting)?;
        let mut find = |key: &str, name: &str| backend(&listener.origin, key, name, before, pools);
        let fallback = find("backend", &listener.backend)?;
        let mut rules = Vec::new();
        for (at, route) in listener.route.iter().enumerate() {
            let pool = find(&format!("route.{at}.backend"), &route.backend)?;
            rules.push((route.clone(), pool));
        }
        let (address, sockets) = match cores {
            0 => (DEFAULT_ADDRESS, Sockets::default()),
            _ => listen(listener, cores, before)?,
        };
        Ok(Self {
            listen: listener.listen.clone(),
            address,
            sockets,
            context,
            rules,
            fallback,
            send_proxy: listener.send_proxy,
            proxy_from: listener.proxy_from.as_slice().into(),
        })
    }

    /// What is behind it, for the banner.
    pub fn backends(&self) -> String {
        let name = |pool: &Option<Arc<Pool>>| match pool {
            Some(pool) => format!("{pool}, plain TCP"),
            None => "built-in HTTP responder".to_owned(),
        };
        let rules = self.rules.iter().map(|(route, pool)| {
            let fits = [route.server_name.join(" "), route.alpn.join(" ")].join(" ");
            format!("{}: {}", fits.trim(), name(pool))
        });
        let all: Vec<String> = rules.chain([name(&self.fallback)]).collect();
        all.join("\n               ")
    }
}

/// The pool of `name`: the same as before, if it is still what `settings` say.
fn pool(
    name: &str,
    settings: &config::Backend,
    culprit: impl Fn(usize) -> String,
    before: Option<&Running>,
) -> Result<Arc<Pool>> {
    let mut known = before.into_iter().flat_map(|before| &before.pools);
    match known.find(|pool| pool.is(name, settings)) {
        Some(pool) => Ok(Arc::clone(pool)),
        None => Pool::new(name, settings, culprit),
    }
}

/// The pool that a listener calls `name`, which may be the address of a server.
fn backend(
    origin: &Origin,
    key: &str,
    name: &str,
    before: Option<&Running>,
    pools: &mut Vec<Arc<Pool>>,
) -> Result<Option<Arc<Pool>>> {
    if name == RESPOND {
        return Ok(None);
    }
    if let Some(pool) = pools.iter().find(|pool| pool.name == name) {
        return Ok(Some(Arc::clone(pool)));
    }
    let names = pools.iter().map(|pool| pool.name.as_str());
    let names: Vec<&str> = names.filter(|name| !config::is_address(name)).collect();
    if !config::is_address(name) && !names.is_empty() {
        bail!(
            "{}: there is no such backend; there are: {}, or write HOST:PORT",
            origin.name(key, name),
            names.join(", ")
        );
    }
    let alone = config::Backend::of(name);
    let found = pool(name, &alone, |_| origin.name(key, name), before)?;
    pools.push(Arc::clone(&found));
    Ok(Some(found))
}

fn listen(
    listener: &Listener,
    cores: usize,
    before: Option<&Running>,
) -> Result<(SocketAddr, Sockets)> {
    let mut known = before.into_iter().flat_map(|before| &before.doors);
    if let Some(door) = known.find(|door| door.listen == listener.listen) {
        return Ok((door.address, Arc::clone(&door.sockets)));
    }
    let address = listener.listen_address()?.unwrap_or(DEFAULT_ADDRESS);
    let name = listener.origin.name("listen", address);
    sockets::bind(&name, address, cores)
}

/// A core's listeners.
#[derive(Default)]
pub struct Doors {
    doors: Vec<Rc<CoreDoor>>,
    balancers: Vec<Rc<Balancer>>,
}

/// A listener, as one core has it.
pub struct CoreDoor {
    /// Certificates, keys and settings, of this core's own.
    pub context: Context,
    rules: Vec<(config::Route, Option<Rc<Balancer>>)>,
    fallback: Option<Rc<Balancer>>,
    send_proxy: SendProxy,
    proxy_from: Arc<[Net]>,
}

impl Doors {
    /// What `running` says; of `before` what it says again, with what that has counted.
    pub fn new(running: &Running, before: &Self) -> Self {
        let balancer = |pool: &Arc<Pool>| {
            let known = before.balancers.iter().find(|known| known.is_of(pool));
            known.map_or_else(|| Rc::new(Balancer::new(pool)), Rc::clone)
        };
        let balancers: Vec<Rc<Balancer>> = running.pools.iter().map(balancer).collect();
        let of = |pool: &Option<Arc<Pool>>| {
            let pool = pool.as_ref()?;
            balancers.iter().find(|known| known.is_of(pool)).cloned()
        };
        let doors = running.doors.iter().map(|door| {
            Rc::new(CoreDoor {
                context: door.context.for_core(),
                rules: door
                    .rules
                    .iter()
                    .map(|(route, pool)| (route.clone(), of(pool)))
                    .collect(),
                fallback: of(&door.fallback),
                send_proxy: door.send_proxy,
                proxy_from: Arc::clone(&door.proxy_from),
            })
        });
        Self {
            doors: doors.collect(),
            balancers,
        }
    }

    /// The listener at `position`, if there is one.
    pub fn get(&self, position: usize) -> Option<&Rc<CoreDoor>> {
        self.doors.get(position)
    }

    /// What is done by the clock: overwrites ticket keys whose time is over, takes over what names were resolved to.
    pub fn mind_the_time(&self) {
        for door in &self.doors {
            door.context.mind_the_time();
        }
        for balancer in &self.balancers {
            balancer.renew();
        }
    }

    /// What was counted of each server.
    pub fn counts(&self) -> Vec<ServerCounts> {
        self.balancers
            .iter()
            .flat_map(|balancer| balancer.counts())
            .collect()
    }
}

impl CoreDoor {
    /// Whether what comes from `peer` begins with a header of the PROXY protocol.
    pub fn takes_header_from(&self, peer: IpAddr) -> bool {
        self.proxy_from.iter().any(|net| net.has(peer))
    }

    /// What the servers of `balancer` are told of clients.
    pub fn send_proxy(&self, balancer: &Balancer) -> SendProxy {
        balancer.send_proxy().unwrap_or(self.send_proxy)
    }

    /// The backend of a client whose handshake is done; `None` is the built-in responder.
    pub fn backend<C: Carrier>(&self, client: &Client<C>) -> Option<&Rc<Balancer>> {
        if self.rules.is_empty() {
            return self.fallback.as_ref();
        }
        let (name, alpn) = (client.server_name(), client.alpn());
        let fits = |(route, _): &&(config::Route, _)| route.fits(name.as_deref(), alpn.as_deref());
        match self.rules.iter().find(fits) {
            Some((_, balancer)) => balancer.as_ref(),
            None => self.fallback.as_ref(),
        }
    }
}
