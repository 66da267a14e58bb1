//! Either end on the kernel's sockets, by epoll(7).

use std::net::TcpStream;

use anyhow::{Context, Result};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use socket2::{Domain, Socket, Type};
use spinlane_proxy::sockets;

use super::{Args, Exchange, Report, Tally};

/// Names the listening socket.
const LISTENER: u64 = u64::MAX;
/// Connections that wait to be accepted.
const BACKLOG: i32 = 4096;

struct Ends<'a> {
    args: &'a Args,
    serves: bool,
    epoll: Epoll,
    places: Vec<Option<Exchange<TcpStream>>>,
    free: Vec<usize>,
    tally: Tally,
}

/// One end, until its time is up.
pub fn run(args: &Args, serves: bool) -> Result<Report> {
    let epoll = Epoll::new(EpollCreateFlags::empty()).context("epoll_create1")?;
    let mut ends = Ends {
        args,
        serves,
        epoll,
        places: (0..args.connections).map(|_| None).collect(),
        free: (0..args.connections).rev().collect(),
        tally: Tally::new(args),
    };
    let listener = serves.then(|| listen(args)).transpose()?;
    if let Some(listener) = &listener {
        let event = EpollEvent::new(EpollFlags::EPOLLIN, LISTENER);
        ends.epoll.add(listener, event).context("epoll_ctl")?;
    } else {
        ends.tally.begin()?;
        while ends.place(sockets::connect(&args.server.into())?)? {}
    }
    let mut events = vec![EpollEvent::empty(); 256];
    while !ends.tally.is_over() {
        let count = ends
            .epoll
            .wait(&mut events, EpollTimeout::from(100u8))
            .context("epoll_wait")?;
        for event in &events[..count] {
            match (event.data(), &listener) {
                (LISTENER, Some(listener)) => ends.accept(listener)?,
                (place, _) => ends.turn(place as usize)?,
            }
        }
    }
    ends.tally.finish(true)
}

fn listen(args: &Args) -> Result<Socket> {
    let open = || -> std::io::Result<Socket> {
        let socket = Socket::new(Domain::for_address(args.server), Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
        socket.bind(&args.server.into())?;
        socket.listen(BACKLOG)?;
        Ok(socket)
    };
    open().with_context(|| format!("{}: cannot listen there", args.server))
}

impl Ends<'_> {
    fn accept(&mut self, listener: &Socket) -> Result<()> {
        self.tally.begin()?;
        while !self.free.is_empty()
            && let Ok((socket, _)) = listener.accept()
        {
            socket.set_nonblocking(true)?;
            self.place(socket.into())?;
        }
        Ok(())
    }

    /// Takes a connection; returns whether there is room for another.
    fn place(&mut self, socket: TcpStream) -> Result<bool> {
        let Some(place) = self.free.pop() else {
            return Ok(false);
        };
        let flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT | EpollFlags::EPOLLET;
        let event = EpollEvent::new(flags, place as u64);
        self.epoll.add(&socket, event).context("epoll_ctl")?;
        self.places[place] = Some(Exchange::new(socket, self.args.bytes, self.serves));
        Ok(!self.free.is_empty())
    }

    fn turn(&mut self, place: usize) -> Result<()> {
        let Some(exchange) = &mut self.places[place] else {
            return Ok(());
        };
        let ended = exchange.turn(&mut self.tally.scratch);
        if matches!(ended, Ok(false)) {
            return Ok(());
        }
        self.tally.count(&ended);
        self.places[place] = None;
        self.free.push(place);
        if !self.serves {
            self.place(sockets::connect(&self.args.server.into())?)?;
        }
        Ok(())
    }
}
