use super::chain::MAX_TICKET_LEN;
use super::*;

const PERIOD: Duration = Duration::from_secs(3600);
/// When the tests' chains begin, in seconds since 1970.
const START: u64 = 1_900_000_000;
/// A session without a name and without certificates, as rustls writes it, but for what follows.
const SESSION: &[u8] = &[0, 3, 4, 0x13, 1, 2, 9, 9, 1, 0];
/// The same of a client that asked for `a`.
const NAMED: &[u8] = &[1, 1, b'a', 3, 4, 0x13, 1, 2, 9, 9, 1, 0];

fn at(age: Duration) -> Now {
    Now {
        number: age.as_secs() / PERIOD.as_secs(),
        seconds: START + age.as_secs(),
    }
}

fn anyone(_: Option<&str>) -> [u8; SCOPE_LEN] {
    [0; SCOPE_LEN]
}

/// The ticket of a full handshake.
fn seal(ticketer: &ChainTicketer, plain: &[u8], age: Duration) -> Option<Vec<u8>> {
    RunningSession::New.run(|| ticketer.seal(plain, at(age)))
}

/// The ticket that a handshake gets that resumes by `ticket`.
fn renew(ticketer: &ChainTicketer, ticket: &[u8], age: Duration) -> Option<Vec<u8>> {
    let mut session = RunningSession::New;
    let plain = session.run(|| ticketer.open(ticket, at(age)))?;
    // Others' handshakes come between.
    seal(ticketer, SESSION, age).unwrap();
    session.run(|| ticketer.seal(&plain, at(age)))
}

fn open(ticketer: &ChainTicketer, ticket: &[u8], age: Duration) -> Option<Vec<u8>> {
    ticketer.open(ticket, at(age))
}

#[test]
fn cores_of_one_seed_open_each_others_tickets_and_others_do_not() {
    let seed = TicketSeed::new(PERIOD);
    let (one, two) = (seed.ticketer(anyone), seed.clone().ticketer(anyone));
    let stranger = TicketSeed::new(PERIOD).ticketer(anyone);
    let ticket = seal(&one, SESSION, Duration::ZERO).unwrap();
    let opened = open(&two, &ticket, Duration::ZERO);
    assert_eq!(opened.as_deref(), Some(SESSION));
    assert_eq!(open(&stranger, &ticket, Duration::ZERO), None);
    assert_ne!(seal(&one, SESSION, Duration::ZERO).unwrap(), ticket);
}

#[test]
fn seeds_of_one_shared_secret_open_each_others_tickets() {
    let born = SystemTime::now() - PERIOD * 5 - Duration::from_secs(60);
    let shared = |secret: u8, since| TicketSeed::shared(&[secret; 32], since, PERIOD);
    let ticketer = |secret, since| shared(secret, since).unwrap().ticketer(anyone);
    let made = |ticketer: &ChainTicketer| RunningSession::New.run(|| ticketer.encrypt(SESSION));
    let ticket = made(&ticketer(1, born)).unwrap();
    let opened = |ticketer: Arc<ChainTicketer>| ticketer.decrypt(&ticket);
    assert_eq!(opened(ticketer(1, born)).as_deref(), Some(SESSION));
    assert_eq!(opened(ticketer(2, born)), None, "another secret");
    let later = born + PERIOD * 2;
    assert_eq!(opened(ticketer(1, later)), None, "another beginning");
    assert!(shared(1, SystemTime::now() + PERIOD).is_none());
    let ancient = SystemTime::now() - PERIOD * (MOST_PERIODS as u32 + 1);
    assert!(shared(1, ancient).is_none());
}

#[test]
fn a_key_opens_for_its_period_and_the_next() {
    let seed = TicketSeed::new(PERIOD);
    let keys_at = |ticketer: &ChainTicketer, age, ticket: &[u8]| {
        ticketer.keys_at(at(age), |keys| keys.open(ticket))
    };
    let (one, late) = (seed.ticketer(anyone), seed.ticketer(anyone));
    let ticket = one.keys_at(at(PERIOD * 5), |keys| keys.seal(&[b"any", b"thing"]));
    let ticket = ticket.unwrap();
    let opened = keys_at(&late, PERIOD * 5, &ticket);
    assert_eq!(opened.as_deref(), Some(&b"anything"[..]));
    assert!(keys_at(&late, PERIOD * 7 - Duration::from_secs(1), &ticket).is_some());
    assert!(keys_at(&late, PERIOD * 7, &ticket).is_none());
    // What is gone does not come back with the clock.
    assert!(keys_at(&late, PERIOD * 5, &ticket).is_none());
}

/// A core that slept for periods has the keys of one that was awake.
#[test]
fn a_core_that_leaps_over_periods_still_opens_the_last_ones_tickets() {
    let seed = TicketSeed::new(PERIOD);
    let (awake, asleep) = (seed.ticketer(anyone), seed.ticketer(anyone));
    for periods in 0..9 {
        let _ = seal(&awake, SESSION, PERIOD * periods);
    }
    let age = PERIOD * 9 - Duration::from_secs(1);
    let ticket = seal(&awake, SESSION, age).unwrap();
    assert!(open(&asleep, &ticket, PERIOD * 9).is_some());
}

#[test]
fn a_session_is_good_for_a_period_since_its_full_handshake_however_often_it_is_renewed() {
    let ticketer = TicketSeed::new(PERIOD).ticketer(anyone);
    let mut ticket = seal(&ticketer, SESSION, Duration::ZERO).unwrap();
    for tenth in 1..10 {
        ticket = renew(&ticketer, &ticket, PERIOD * tenth / 10).unwrap();
    }
    let second = Duration::from_secs(1);
    assert!(open(&ticketer, &ticket, PERIOD - second).is_some());
    assert_eq!(open(&ticketer, &ticket, PERIOD), None);
    assert_eq!(renew(&ticketer, &ticket, PERIOD), None);
}

#[test]
fn the_client_is_told_what_is_left() {
    let ticketer = TicketSeed::new(PERIOD).ticketer(anyone);
    let mut session = RunningSession::New;
    let at_first = at(Duration::from_secs(7));
    let ticket = session.run(|| {
        let ticket = ticketer.seal(SESSION, at_first).unwrap();
        assert_eq!(ticketer.seconds_left(at_first), 3600);
        ticket
    });
    let later = at(Duration::from_secs(1007));
    RunningSession::New.run(|| {
        let plain = ticketer.open(&ticket, later).unwrap();
        ticketer.seal(&plain, later).unwrap();
        assert_eq!(ticketer.seconds_left(later), 2600);
    });
    let year = TicketSeed::new(Duration::from_secs(365 * 86400)).ticketer(anyone);
    assert_eq!(year.lifetime(), 7 * 86400);
}

/// The clock was set back by more than a session lasts.
#[test]
fn a_ticket_that_would_be_good_for_longer_than_any_does_not_open() {
    let ticketer = TicketSeed::new(PERIOD).ticketer(anyone);
    let ticket = seal(&ticketer, SESSION, Duration::from_secs(60)).unwrap();
    assert!(open(&ticketer, &ticket, Duration::from_secs(60)).is_some());
    assert_eq!(open(&ticketer, &ticket, Duration::from_secs(59)), None);
}

#[test]
fn the_clients_certificate_ends_its_session() {
    let ticketer = TicketSeed::new(PERIOD).ticketer(anyone);
    let with_client_until = |year| {
        let mut params = rcgen::CertificateParams::new(["client".to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        let key = rcgen::KeyPair::generate().unwrap();
        let der = params.self_signed(&key).unwrap().der().to_vec();
        let length = |len: usize| u32::try_from(len).unwrap().to_be_bytes()[1..].to_vec();
        let lengths = [length(der.len() + 3), length(der.len())].concat();
        [&SESSION[..9], &[1], &lengths, &der].concat()
    };
    let session = with_client_until(2030);
    // 2030-01-01 is at 1 893 456 000, before the tests' time.
    assert_eq!(seal(&ticketer, &session, Duration::ZERO), None);
    let before = Now {
        number: 0,
        seconds: 1_893_456_000 - 60,
    };
    let ticket = RunningSession::New.run(|| {
        let ticket = ticketer.seal(&session, before).unwrap();
        assert_eq!(ticketer.seconds_left(before), 60);
        ticket
    });
    let after = |seconds| Now {
        seconds: before.seconds + seconds,
        ..before
    };
    assert!(ticketer.open(&ticket, after(59)).is_some());
    assert_eq!(ticketer.open(&ticket, after(60)), None);
    assert!(seal(&ticketer, &with_client_until(2050), Duration::ZERO).is_some());
}

#[test]
fn a_ticket_opens_in_its_scope_alone() {
    let seed = TicketSeed::new(PERIOD);
    // Name `a` has moved on, all else has not.
    let moved = |name: Option<&str>| [u8::from(name == Some("a")); SCOPE_LEN];
    let (before, after) = (seed.ticketer(anyone), seed.ticketer(moved));
    for (session, opens) in [(SESSION, true), (NAMED, false)] {
        let ticket = seal(&before, session, Duration::ZERO).unwrap();
        assert!(open(&before, &ticket, Duration::ZERO).is_some());
        assert_eq!(open(&after, &ticket, Duration::ZERO).is_some(), opens);
    }
}

/// It could be anybody's, such as one that is renewed for ever.
#[test]
fn a_handshake_of_which_nothing_is_known_gets_no_ticket() {
    let ticketer = TicketSeed::new(PERIOD).ticketer(anyone);
    assert_eq!(ticketer.encrypt(SESSION), None);
    let ticket = RunningSession::New
        .run(|| ticketer.encrypt(SESSION))
        .unwrap();
    assert!(ticketer.decrypt(&ticket).is_some());
    assert_eq!(ticketer.encrypt(SESSION), None);
}

#[test]
fn forged_and_truncated_tickets_do_not_open() {
    let ticketer = TicketSeed::new(PERIOD).ticketer(anyone);
    let ticket = seal(&ticketer, SESSION, Duration::ZERO).unwrap();
    for len in 0..ticket.len() {
        let cut = open(&ticketer, &ticket[..len], Duration::ZERO);
        assert_eq!(cut, None, "{len} bytes");
        let mut forged = ticket.clone();
        forged[len] ^= 1;
        assert_eq!(open(&ticketer, &forged, Duration::ZERO), None, "byte {len}");
    }
    let long = vec![0; MAX_TICKET_LEN + 1];
    assert_eq!(open(&ticketer, &long, Duration::ZERO), None);
}

/// Neither the seed nor a ticketer has it when its time is over, one made later included.
#[test]
#[cfg_attr(
    spinlane_asan,
    ignore = "AddressSanitizer keeps what is freed, and has a shadow too large to read"
)]
fn the_first_link_is_gone_from_memory_when_its_time_is_over() {
    let seed = TicketSeed::new(PERIOD);
    let cores = [seed.ticketer(anyone), seed.ticketer(anyone)];
    // Inverted, so that this copy is not found.
    let inverted: Vec<u8> = lock(&seed.link).secret().iter().map(|byte| !byte).collect();
    let mut memory = Memory::default();
    assert!(memory.count(&inverted) >= 3, "the seed's and two cores'");
    lock(&seed.link).advance(1);
    for core in &cores {
        lock(&core.keys).advance(1);
    }
    let _after_a_reload = seed.ticketer(anyone);
    assert_eq!(memory.count(&inverted), 0);
}

/// This process's memory, read a piece at a time.
struct Memory {
    piece: Box<[u8]>,
}

impl Default for Memory {
    fn default() -> Self {
        Self {
            piece: vec![0; 1 << 20].into(),
        }
    }
}

impl Memory {
    /// How often the bytes whose complement is `inverted` occur.
    fn count(&mut self, inverted: &[u8]) -> usize {
        use std::os::unix::fs::FileExt;

        let own = self.piece.as_ptr_range();
        let own = own.start.addr() as u64..own.end.addr() as u64;
        let memory = std::fs::File::open("/proc/self/mem").unwrap();
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let mut count = 0;
        for line in maps.lines().filter(|line| line.contains(" rw")) {
            let (from, to) = line.split(' ').next().unwrap().split_once('-').unwrap();
            let [mut from, to] = [from, to].map(|hex| u64::from_str_radix(hex, 16).unwrap());
            while from < to {
                let len = self.piece.len().min(usize::try_from(to - from).unwrap());
                let piece = &mut self.piece[..len];
                // Some mappings cannot be read.
                let read = memory.read_at(piece, from).unwrap_or(0);
                let windows = piece[..read].windows(inverted.len()).enumerate();
                let found = windows.filter(|(at, window)| {
                    let same = window
                        .iter()
                        .zip(inverted)
                        .all(|(one, other)| *one == !other);
                    same && !own.contains(&(from + *at as u64))
                });
                count += found.count();
                // The next piece has what may be cut here.
                let step = if from + len as u64 == to {
                    len
                } else {
                    len - inverted.len() + 1
                };
                from += step as u64;
            }
        }
        self.piece.fill(0);
        count
    }
}
