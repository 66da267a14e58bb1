//! Another's TCP/IP as the peer: smoltcp on either side of the seeded wire.

use std::collections::VecDeque;

use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::tcp::{Socket, SocketBuffer, State};
use smoltcp::time::Instant;
use smoltcp::wire::{EthernetAddress, HardwareAddress, IpAddress, IpCidr};
use spinlane_net::sim::{Rng, Setup, Station, Tally, ours, run_with};
use spinlane_net::{End, Interface as Ours};

/// Frames in and out of smoltcp.
struct Wire {
    arrived: VecDeque<Vec<u8>>,
    sent: Vec<Vec<u8>>,
    mtu: u16,
}

struct Received(Vec<u8>);

impl RxToken for Received {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, take: F) -> R {
        take(&self.0)
    }
}

struct Sending<'a>(&'a mut Vec<Vec<u8>>);

impl TxToken for Sending<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, fill: F) -> R {
        let mut frame = vec![0; len];
        let result = fill(&mut frame);
        self.0.push(frame);
        result
    }
}

impl Device for Wire {
    type RxToken<'a> = Received;
    type TxToken<'a> = Sending<'a>;

    fn receive(&mut self, _now: Instant) -> Option<(Received, Sending<'_>)> {
        let frame = self.arrived.pop_front()?;
        Some((Received(frame), Sending(&mut self.sent)))
    }

    fn transmit(&mut self, _now: Instant) -> Option<Sending<'_>> {
        Some(Sending(&mut self.sent))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut caps = DeviceCapabilities::default();
        caps.medium = Medium::Ethernet;
        caps.max_transmission_unit = usize::from(self.mtu) + 14;
        caps
    }
}

/// What we remember of a socket.
struct Name {
    handle: SocketHandle,
    peer_finished: bool,
    /// What had come and was not read when smoltcp came to TIME-WAIT, after which it throws it away.
    inbox: Vec<u8>,
}

struct Smol {
    wire: Wire,
    interface: Interface,
    sockets: SocketSet<'static>,
    /// Sockets that wait for a SYN each: smoltcp has no backlog.
    listening: Vec<SocketHandle>,
    names: Vec<Name>,
    server: IpAddress,
    next_port: u16,
}

const BUFFER: usize = 30_000;

fn at(now: u64) -> Instant {
    Instant::from_micros(i64::try_from(now).unwrap())
}

fn socket() -> Socket<'static> {
    let buffer = || SocketBuffer::new(vec![0; BUFFER]);
    Socket::new(buffer(), buffer())
}

impl Smol {
    fn new(setup: &Setup, side: usize, seed: u64) -> Self {
        let mut wire = Wire {
            arrived: VecDeque::new(),
            sent: Vec::new(),
            mtu: setup.mtu,
        };
        let mac = HardwareAddress::Ethernet(EthernetAddress(setup.mac(side).0));
        let mut config = Config::new(mac);
        config.random_seed = seed;
        let mut interface = Interface::new(config, &mut wire, at(0));
        let Ours { address, prefix } = setup.interface(side);
        interface.update_ip_addrs(|addresses| {
            addresses.push(IpCidr::new(address.into(), prefix)).unwrap();
        });
        let mut smol = Self {
            wire,
            interface,
            sockets: SocketSet::new(Vec::new()),
            listening: Vec::new(),
            names: Vec::new(),
            server: setup.address(1 - side).into(),
            next_port: 40_000,
        };
        for _ in 0..8 {
            let handle = smol.sockets.add(socket());
            smol.sockets
                .get_mut::<Socket<'_>>(handle)
                .listen(443)
                .unwrap();
            smol.listening.push(handle);
        }
        smol
    }

    fn socket(&self, name: usize) -> &Socket<'static> {
        self.sockets.get(self.names[name].handle)
    }

    fn socket_mut(&mut self, name: usize) -> &mut Socket<'static> {
        self.sockets.get_mut(self.names[name].handle)
    }

    fn poll(&mut self, now: u64) {
        self.interface
            .poll(at(now), &mut self.wire, &mut self.sockets);
        for name in &mut self.names {
            let state = self.sockets.get::<Socket<'_>>(name.handle).state();
            let finished = [
                State::CloseWait,
                State::LastAck,
                State::Closing,
                State::TimeWait,
            ];
            name.peer_finished |= finished.contains(&state);
            if state == State::TimeWait {
                let socket = self.sockets.get_mut::<Socket<'_>>(name.handle);
                while let Ok(1..) = socket.recv(|bytes| {
                    name.inbox.extend_from_slice(bytes);
                    (bytes.len(), bytes.len())
                }) {}
            }
        }
    }

    fn name(&mut self, handle: SocketHandle) -> usize {
        self.names.push(Name {
            handle,
            peer_finished: false,
            inbox: Vec::new(),
        });
        self.names.len() - 1
    }
}

impl Station for Smol {
    fn receive(&mut self, now: u64, frames: Vec<Vec<u8>>) {
        for frame in frames {
            // One by one, so that no state is passed over unseen.
            self.wire.arrived.push_back(frame);
            self.poll(now);
        }
    }

    fn transmit(&mut self, now: u64) -> Vec<Vec<u8>> {
        self.poll(now);
        std::mem::take(&mut self.wire.sent)
    }

    fn due(&mut self, now: u64) -> Option<u64> {
        let due = self.interface.poll_at(at(now), &self.sockets)?;
        Some(u64::try_from(due.total_micros()).unwrap().max(now + 1))
    }

    fn connect(&mut self, _now: u64) -> Option<(usize, u16)> {
        self.next_port += 1;
        let port = self.next_port;
        let mut socket = socket();
        socket
            .connect(self.interface.context(), (self.server, 443), port)
            .ok()?;
        let handle = self.sockets.add(socket);
        Some((self.name(handle), port))
    }

    fn accept(&mut self) -> Option<(usize, u16)> {
        let up = |handle: &SocketHandle| {
            let state = self.sockets.get::<Socket<'_>>(*handle).state();
            !matches!(state, State::Listen | State::SynReceived | State::Closed)
        };
        let place = self.listening.iter().position(up)?;
        let handle = self.listening.swap_remove(place);
        let port = self
            .sockets
            .get::<Socket<'_>>(handle)
            .remote_endpoint()?
            .port;
        Some((self.name(handle), port))
    }

    fn read(&mut self, name: usize, read: &mut dyn FnMut(&[u8]) -> usize) {
        let inbox = &mut self.names[name].inbox;
        let taken = read(inbox);
        inbox.drain(..taken);
        let socket = self.socket_mut(name);
        while socket.can_recv() {
            let taken = socket.recv(|bytes| {
                let taken = read(bytes);
                (taken, taken)
            });
            if taken.is_ok_and(|taken| taken == 0) {
                return;
            }
        }
    }

    fn write(&mut self, name: usize, bytes: &[u8]) -> usize {
        self.socket_mut(name).send_slice(bytes).unwrap_or(0)
    }

    fn is_up(&self, name: usize) -> bool {
        !matches!(
            self.socket(name).state(),
            State::SynSent | State::SynReceived
        )
    }

    fn readable(&self, name: usize) -> usize {
        self.names[name].inbox.len() + self.socket(name).recv_queue()
    }

    fn unacknowledged(&self, name: usize) -> usize {
        self.socket(name).send_queue()
    }

    fn peer_finished(&self, name: usize) -> bool {
        self.names[name].peer_finished
    }

    fn end(&self, name: usize) -> Option<End> {
        let Name { peer_finished, .. } = self.names[name];
        let closed = self.socket(name).state() == State::Closed;
        closed.then_some(if peer_finished {
            End::Closed
        } else {
            End::Reset
        })
    }

    fn close(&mut self, name: usize) {
        self.socket_mut(name).close();
    }

    fn abort(&mut self, name: usize) {
        self.socket_mut(name).abort();
    }

    fn release(&mut self, name: usize) {
        self.socket_mut(name).close();
    }

    fn left(&self) -> Option<String> {
        let at_work = |name: &&Name| {
            let state = self.sockets.get::<Socket<'_>>(name.handle).state();
            !matches!(state, State::Closed | State::TimeWait)
        };
        let left = self.names.iter().filter(at_work).count();
        (left > 0).then(|| format!("{left} sockets of smoltcp's"))
    }

    fn excess(&self) -> Option<String> {
        None
    }

    fn is_ours(&self) -> bool {
        false
    }
}

/// Runs a world with smoltcp on one side.
fn run(seed: u64, setup: impl Fn(&mut Rng) -> Setup, smol: usize) -> Tally {
    let mut rng = Rng::new(seed);
    let setup = setup(&mut rng);
    let stations = [0, 1].map(|side| -> Box<dyn Station> {
        if side == smol {
            Box::new(Smol::new(&setup, side, rng.bits()))
        } else {
            Box::new(ours(&setup, side, &mut rng))
        }
    });
    match run_with(rng, &setup, stations, false) {
        Ok(tally) => tally,
        Err(violation) => panic!("seed {seed}, smoltcp is {smol}: {violation:?}"),
    }
}

#[test]
fn streams_are_whole_on_a_quiet_wire() {
    for smol in 0..2 {
        for seed in 0..60 {
            let v6 = seed % 2 == 1;
            let tally = run(seed, |_| Setup::quiet(v6, 500, 3), smol);
            assert_eq!(tally.ends["closed"], 6, "seed {seed}: {tally}");
        }
    }
}

#[test]
fn streams_are_whole_whatever_the_wire_does() {
    for smol in 0..2 {
        let mut total = Tally::default();
        for seed in 0..150 {
            total += &run(seed, |rng| Setup::random(rng).tame(), smol);
        }
        let lost = total.faults["lost"] + total.faults["corrupted"];
        assert!(lost > 1000 && total.retransmissions > 100, "{total}");
        println!("smoltcp is {smol}:\n{total}");
    }
}
