//! Either end on our own stack.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use spinlane::{Conn, Lcore};
use spinlane_proxy::carrier::{Carrier, Listener};
use spinlane_proxy::packets::port::{Queues, client, open, start};
use spinlane_proxy::packets::{Packets, Via};

use super::{Args, Exchange, Report, Tally};
use crate::measure::on_core;

type Net = Packets<Queues>;

/// One end, until its time is up.
pub fn run(args: &Args, spec: &str, serves: bool) -> Result<Report> {
    let eal = start(&args.packets, spec)?;
    let flows = 4 * args.connections;
    let (net, _port) = if serves {
        let cores = (1, flows);
        let network = open(
            &eal,
            &args.packets,
            spec,
            Some(args.server),
            Via::Port,
            cores,
        )?;
        (
            network.open.into_iter().next().context("--port")?,
            Some(network.watch),
        )
    } else {
        (client(&eal, &args.packets, spec, flows)?, None)
    };
    let (plan, net) = (args.clone(), Arc::new(Mutex::new(Some(net))));
    on_core(args.core, move |_, lcore| {
        let open = net.lock().unwrap_or_else(PoisonError::into_inner).take();
        let net = open.context("one core opens the port")?();
        Ends::new(&plan, serves, net).run(lcore)
    })
}

struct Ends<'a> {
    args: &'a Args,
    serves: bool,
    net: Net,
    places: Vec<Option<Exchange<Either>>>,
    free: Vec<usize>,
    tally: Tally,
}

type Either = <Net as Listener>::Backend;

impl<'a> Ends<'a> {
    fn new(args: &'a Args, serves: bool, net: Net) -> Self {
        Self {
            args,
            serves,
            net,
            places: (0..args.connections).map(|_| None).collect(),
            free: (0..args.connections).rev().collect(),
            tally: Tally::new(args),
        }
    }

    fn run(mut self, lcore: &Lcore) -> Result<Report> {
        if !self.serves {
            self.tally.begin()?;
        }
        while !self.tally.is_over() {
            let now_ns = lcore.now_ns();
            let mut moved = self.net.receive(now_ns);
            moved |= self.begin()?;
            while let Some(Conn(place)) = self.net.next_news() {
                moved = true;
                self.turn(place as usize)?;
            }
            self.net.transmit(now_ns);
            if moved {
                self.tally.busy_ns += lcore.now_ns() - now_ns;
            }
        }
        self.tally.finish(false)
    }

    /// New connections, as far as there is room; returns whether there were any.
    fn begin(&mut self) -> Result<bool> {
        let mut any = false;
        while let Some(&place) = self.free.last() {
            let mut carrier = match self.serves {
                true => match self.net.accept() {
                    Ok((flow, ..)) => Either::Flow(flow),
                    Err(_) => break,
                },
                false => self.net.connect(&self.args.server.into())?,
            };
            self.tally.begin()?;
            self.free.pop();
            carrier.tell(Conn(place as u64));
            self.places[place] = Some(Exchange::new(carrier, self.args.bytes, self.serves));
            any = true;
            self.turn(place)?;
        }
        Ok(any)
    }

    fn turn(&mut self, place: usize) -> Result<()> {
        let Some(exchange) = &mut self.places[place] else {
            return Ok(());
        };
        let ended = exchange.turn(&mut self.tally.scratch);
        if !matches!(ended, Ok(false)) {
            self.tally.count(&ended);
            self.places[place] = None;
            self.free.push(place);
        }
        Ok(())
    }
}
