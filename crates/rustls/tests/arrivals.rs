//! Every handshake, its bytes arriving at every moment of every pause: it ends without one more.

mod support;

use std::sync::Arc;

use proptest::prelude::*;
use rustls::client::Resumption;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ServerConfig};
use spinlane_lcore::Lcore;
use spinlane_rustls::{Connection, OffloadedEcdhP256, OffloadedX25519, Progress, TicketSeed};

use support::schedule::{Answers, CLIENT, End, SERVER, Step, Weather, World};
use support::{Ends, Wanted, lcore, rustls};

type Configs = (Arc<ServerConfig>, Arc<ClientConfig>);

fn step(progress: Progress) -> Step {
    match progress {
        Progress::Done(_) => Step::Done,
        Progress::WantInput => Step::WantInput,
        Progress::WantOutput => Step::WantOutput,
        Progress::Paused | Progress::Refused => Step::Waits,
        Progress::NoJobs => Step::NoJobs,
        Progress::Closed => Step::Closed,
    }
}

impl End for Connection {
    fn handshake(&mut self) -> Step {
        step(Connection::handshake(self).unwrap())
    }

    fn read(&mut self, heard: &mut Vec<u8>) -> Step {
        let read = self.read_with(|text| {
            heard.extend_from_slice(text);
            text.len()
        });
        step(read.unwrap())
    }

    fn say(&mut self, text: &[u8]) {
        assert_eq!(self.write(text), Ok(Progress::Done(text.len())));
        self.shutdown();
    }

    fn push(&mut self, bytes: &[u8]) -> usize {
        self.push_input(bytes)
    }

    fn drain(&mut self, wire: &mut Vec<u8>) {
        while self.output_len() != 0 {
            let taken = self.write_output(|bytes| {
                wire.extend_from_slice(bytes);
                Ok(bytes.len())
            });
            taken.unwrap();
        }
    }
}

/// Every kind of handshake, by name.
fn handshakes() -> Vec<(String, Configs)> {
    let mut all = Vec::new();
    let seed = TicketSeed::new(std::time::Duration::from_secs(3600));
    for (version, name) in [(&TLS12, "1.2"), (&TLS13, "1.3")] {
        for (key, client_key) in [
            ("p256", None),
            ("rsa2048", None),
            ("p256", Some("p256")),
            ("rsa2048", Some("rsa2048")),
        ] {
            let wanted = Wanted {
                key,
                version,
                client_key,
                ..Wanted::default()
            };
            let (server, mut client) = (wanted.server(), wanted.client());
            client.resumption = Resumption::disabled();
            let name = format!("TLS {name}, {key}, client {client_key:?}");
            all.push((name, (server.into(), client.into())));
        }
        let wanted = Wanted {
            version,
            ..Wanted::default()
        };
        let (mut server, client) = (wanted.server(), wanted.client());
        server.ticketer = seed.ticketer(|_| [0; 32]);
        server.send_tls13_tickets = 2;
        let name = format!("TLS {name}, resumed by a ticket");
        all.push((name, (server.into(), client.into())));
    }
    let wanted = Wanted {
        version: &TLS12,
        ..Wanted::default()
    };
    let name = "TLS 1.2, resumed by its number".to_owned();
    let configs = (wanted.server().into(), wanted.client().into());
    all.push((name, configs));
    let group = |group: &'static dyn rustls::crypto::SupportedKxGroup| Wanted {
        group: Some(group),
        ..Wanted::default()
    };
    let server = group(&OffloadedEcdhP256).server();
    let mut provider = spinlane_rustls::provider();
    provider.kx_groups = vec![&OffloadedX25519, &OffloadedEcdhP256];
    let mut client = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .with_root_certificates(support::identity("p256").roots())
        .with_no_client_auth();
    client.resumption = Resumption::disabled();
    client.enable_secret_extraction = true;
    // What it has no share for is what the server wants.
    let name = "TLS 1.3, HelloRetryRequest".to_owned();
    all.push((name, (server.into(), client.into())));
    all
}

fn world<'a>(lcore: &'a Lcore, weather: Weather, configs: &Configs) -> World<'a, Connection> {
    let (server, client) = configs;
    let mut ends = Ends::new(lcore, Arc::clone(server), Arc::clone(client));
    ends.client
        .attach(lcore, spinlane_lcore::Conn(CLIENT as u64));
    ends.server
        .attach(lcore, spinlane_lcore::Conn(SERVER as u64));
    World::new(lcore, weather, ends.client, ends.server)
}

fn in_weather(weather: Weather, test: impl FnOnce(&Lcore)) {
    let capacity = if weather == Weather::Refusing { 1 } else { 64 };
    let lcore = lcore(capacity);
    if weather == Weather::Jobless {
        spinlane_job::init_thread(1, 1).unwrap();
    }
    test(&lcore);
    spinlane_job::cleanup_thread();
}

fn records_at_every_moment(weather: Weather) {
    in_weather(weather, |lcore| {
        for (name, configs) in handshakes() {
            // Thousands of schedules; `segments_at_any_moment` tries some.
            let has_many = name.contains("rsa2048") || name.contains("Some");
            if has_many && weather != Weather::Fair {
                continue;
            }
            for focus in [CLIENT, SERVER] {
                println!("{name}, side {focus}, {weather:?}");
                // Makes a session for those that resume one.
                world(lcore, Weather::Fair, &configs).run_records(focus, || false);
                let mut answers = Answers::default();
                loop {
                    let mut world = world(lcore, weather, &configs);
                    world.run_records(focus, || answers.next());
                    for end in world.into_ends() {
                        assert_eq!(end.session_reused(), name.contains("resumed"));
                    }
                    if !answers.advance() {
                        break;
                    }
                }
            }
        }
    });
}

#[test]
fn records_arrive_at_every_moment_of_a_pause() {
    records_at_every_moment(Weather::Fair);
}

#[test]
fn records_arrive_at_every_moment_of_a_refusal() {
    records_at_every_moment(Weather::Refusing);
}

#[test]
fn records_arrive_at_every_moment_while_there_is_no_job() {
    records_at_every_moment(Weather::Jobless);
}

fn segments_at_any_moment(weather: Weather) {
    in_weather(weather, |lcore| {
        let handshakes = handshakes();
        let schedule = (
            0..handshakes.len(),
            prop::collection::vec(any::<u8>(), 0..200),
        );
        let config = ProptestConfig {
            failure_persistence: None,
            ..ProptestConfig::with_cases(300)
        };
        proptest!(config, |((index, script) in schedule)| {
            let (name, configs) = &handshakes[index];
            println!("{name}, {weather:?}");
            world(lcore, weather, configs).run_script(&script);
        });
    });
}

#[test]
fn segments_arrive_at_any_moment() {
    segments_at_any_moment(Weather::Fair);
}

#[test]
fn segments_arrive_at_any_moment_of_a_refusal() {
    segments_at_any_moment(Weather::Refusing);
}

#[test]
fn segments_arrive_at_any_moment_while_there_is_no_job() {
    segments_at_any_moment(Weather::Jobless);
}
