//! Every handshake of libssl's, its bytes arriving at every moment of every pause: it ends without
//! one more.

#[path = "../../rustls/tests/support/schedule.rs"]
mod schedule;
mod support;

use proptest::prelude::*;
use spinlane_cryptodev::Device;
use spinlane_driver_soft::SoftDevice;
use spinlane_lcore::{Config, Conn, HealthConfig, Lcore};
use spinlane_openssl::{ClientConfig, Progress, Protocol, Ssl, SslCtx};

use schedule::{Answers, CLIENT, End, SERVER, Step, Weather, World};
use support::{identity, server_config};

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

impl End for Ssl {
    fn handshake(&mut self) -> Step {
        step(Ssl::handshake(self).expect("a handshake"))
    }

    fn read(&mut self, heard: &mut Vec<u8>) -> Step {
        let mut text = [0; 100];
        let progress = Ssl::read(self, &mut text).expect("text");
        if let Progress::Done(count) = progress {
            heard.extend_from_slice(&text[..count]);
        }
        step(progress)
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
            taken.expect("bytes");
        }
    }

    fn end_input(&mut self) {
        Ssl::end_input(self);
    }
}

/// A kind of handshake.
struct Kind {
    name: String,
    server: SslCtx,
    client: SslCtx,
    /// Whose session is offered.
    earlier: Option<Ssl>,
}

/// Every kind of handshake.
fn handshakes(lcore: &Lcore) -> Vec<Kind> {
    type Change = fn(&mut spinlane_openssl::ServerConfig, &mut ClientConfig);
    let with_client_certificate: Change = |server, client| {
        server.client_roots = Some(identity("p256").0);
        client.identity = Some(identity("p256"));
    };
    let kinds: [(&str, &str, Change); 7] = [
        ("p256", "p256", |_, _| {}),
        ("rsa2048", "rsa2048", |_, _| {}),
        (
            "p256 and a client's certificate",
            "p256",
            with_client_certificate,
        ),
        (
            "rsa2048 and a client's certificate",
            "rsa2048",
            with_client_certificate,
        ),
        ("another group", "p256", |server, client| {
            server.groups = Some("P-256".to_owned());
            client.groups = Some("X25519:P-256".to_owned());
        }),
        ("RSA key exchange", "rsa2048", |server, client| {
            server.ciphers = Some("AES128-GCM-SHA256".to_owned());
            client.max_protocol = Protocol::Tls12;
        }),
        ("resumed", "p256", |_, _| {}),
    ];
    let mut all = Vec::new();
    for protocol in [Protocol::Tls12, Protocol::Tls13] {
        for (name, key, change) in kinds {
            let mut server = server_config(key);
            server.max_protocol = protocol;
            let mut client = ClientConfig {
                offload: true,
                ..ClientConfig::dangerously_accepting_any_certificate()
            };
            change(&mut server, &mut client);
            let mut kind = Kind {
                name: format!("{protocol:?}, {name}"),
                server: SslCtx::server(&server).expect("server"),
                client: SslCtx::client(&client).expect("client"),
                earlier: None,
            };
            if name == "resumed" {
                let mut world = kind.world(lcore, Weather::Fair);
                world.run_records(SERVER, || false);
                let [client, _] = world.into_ends();
                kind.earlier = Some(client);
            }
            all.push(kind);
        }
    }
    all
}

impl Kind {
    fn world<'a>(&self, lcore: &'a Lcore, weather: Weather) -> World<'a, Ssl> {
        let mut client = Ssl::client(&self.client).expect("client");
        let mut server = Ssl::server(&self.server).expect("server");
        if let Some(earlier) = &self.earlier {
            assert!(client.resume_session_of(earlier), "no session");
        }
        client.attach(lcore, Conn(CLIENT as u64));
        server.attach(lcore, Conn(SERVER as u64));
        World::new(lcore, weather, client, server)
    }
}

fn in_weather(weather: Weather, test: impl FnOnce(&Lcore)) {
    // No op of a busy machine is too late.
    let health = HealthConfig {
        op_deadline_ns: 3_600_000_000_000,
        ..HealthConfig::default()
    };
    let lcore = Lcore::new(Config::default());
    let config = spinlane_cryptodev::QueuePairConfig {
        capacity: if weather == Weather::Refusing { 1 } else { 64 },
        ..Default::default()
    };
    lcore.add_queue_pair_with(SoftDevice::new().queue_pair(config).expect("soft"), health);
    if weather == Weather::Jobless {
        spinlane_job::init_thread(1, 1).expect("one job");
    }
    test(&lcore);
    spinlane_job::cleanup_thread();
}

#[test]
fn records_arrive_at_every_moment_of_a_pause() {
    in_weather(Weather::Fair, |lcore| {
        for kind in handshakes(lcore) {
            for focus in [CLIENT, SERVER] {
                // Thousands of schedules; `segments_at_any_moment` tries some.
                let has_many = kind.name.contains("certificate")
                    || (kind.name == "Tls13, another group" && focus == CLIENT);
                if has_many {
                    continue;
                }
                println!("{}, side {focus}", kind.name);
                let mut answers = Answers::default();
                loop {
                    let mut world = kind.world(lcore, Weather::Fair);
                    world.run_records(focus, || answers.next());
                    for end in world.into_ends() {
                        assert_eq!(end.session_reused(), kind.earlier.is_some());
                    }
                    if !answers.advance() {
                        break;
                    }
                }
            }
        }
    });
}

fn segments_at_any_moment(weather: Weather) {
    in_weather(weather, |lcore| {
        let handshakes = handshakes(lcore);
        let schedule = (
            0..handshakes.len(),
            prop::collection::vec(any::<u8>(), 0..200),
        );
        let config = ProptestConfig {
            failure_persistence: None,
            ..ProptestConfig::with_cases(100)
        };
        proptest!(config, |((index, script) in schedule)| {
            println!("{}, {weather:?}", handshakes[index].name);
            handshakes[index].world(lcore, weather).run_script(&script);
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
