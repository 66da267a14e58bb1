//! RSA in the device's lanes, whose results it checks, beside crypto_mb's, which checks nothing: eight private
//! operations of one key per call, by turns on one core. `cargo bench -p spinlane-driver-mb`.
//!
//! A round is some milliseconds of each side. Ratios are of operations per second, ours over theirs, the median of the
//! rounds (least to largest).

#[cfg(not(target_arch = "x86_64"))]
fn main() {
    println!("skipped: not an x86-64 CPU");
}

#[cfg(target_arch = "x86_64")]
mod crypto_mb;
#[cfg(target_arch = "x86_64")]
mod stack;

#[cfg(target_arch = "x86_64")]
fn main() {
    beside::run();
}

#[cfg(target_arch = "x86_64")]
mod beside {
    use std::time::{Duration, Instant};

    use crypto_mb_sys::LANES;
    use spinlane_crypto::{Key, RsaKey, test_keys::der};
    use spinlane_cryptodev::test_keys::rsa;
    use spinlane_cryptodev::{
        Burst, Device, Op, OpStatus, QueuePair, QueuePairConfig, Request, Token,
    };
    use spinlane_driver_mb::MbDevice;

    use super::crypto_mb::{CryptoMbRsa, Stack};

    const ROUNDS: usize = 30;
    const SLICE: Duration = Duration::from_millis(20);

    pub fn run() {
        let device = match MbDevice::new() {
            Ok(device) => device,
            Err(error) => return println!("skipped: {error}"),
        };
        let stacks = [
            ("best stack alignment", Stack::Best),
            ("any stack alignment", Stack::Any),
        ];
        println!("RSA, private operations per second: mb, crypto_mb, ratio");
        for (name, der) in [
            ("2048", der::RSA_2048),
            ("3072", der::RSA_3072),
            ("4096", der::RSA_4096),
        ] {
            let handle = rsa(der);
            let Some(Key::Rsa(key)) = handle.as_local() else {
                unreachable!("a test key is in memory")
            };
            let block = vec![0x33; key.modulus_len()];
            let request = Request::rsa_private(&handle, &block).expect("a block below the modulus");
            for (stack, how) in stacks {
                let mut ours = Ours::new(&device);
                let mut theirs = CryptoMbRsa::new(how, &device);
                // All four alignments have a turn.
                for _ in 0..4 {
                    check(&mut theirs, key, &block);
                }
                let rounds = (0..ROUNDS).map(|_| {
                    let ours = per_second(|| ours.eight(&request));
                    let theirs = per_second(|| eight(&mut theirs, key, &block, |_| ()));
                    [ours, theirs, ours / theirs]
                });
                let rounds: Vec<_> = rounds.collect();
                let [ours, theirs, ratio] = [0, 1, 2].map(|column| {
                    let mut figures: Vec<_> = rounds.iter().map(|round| round[column]).collect();
                    figures.sort_by(f64::total_cmp);
                    figures
                });
                println!(
                    "rsa{name} {:>8.0} {:>8.0} {:>6.2} ({:.2} to {:.2})  {stack}",
                    ours[ROUNDS / 2],
                    theirs[ROUNDS / 2],
                    ratio[ROUNDS / 2],
                    ratio[0],
                    ratio[ROUNDS - 1],
                );
            }
        }
    }

    /// The device's queue pair, and ops for a batch.
    struct Ours {
        queue_pair: Box<dyn QueuePair>,
        ops: Burst,
    }

    impl Ours {
        fn new(device: &MbDevice) -> Self {
            let queue_pair = device.queue_pair(QueuePairConfig::default());
            Self {
                queue_pair: queue_pair.expect("the default is within range"),
                ops: (0..LANES).map(|_| Op::new()).collect(),
            }
        }

        fn eight(&mut self, request: &Request<'_>) {
            for op in &mut self.ops {
                op.prepare(Token(0), request, 0);
            }
            assert_eq!(self.queue_pair.enqueue_burst(&mut self.ops), LANES);
            while self.ops.len() < LANES {
                self.queue_pair.dequeue_burst(&mut self.ops, LANES, 0);
            }
            assert!(self.ops.iter().all(|op| op.status == OpStatus::Success));
        }
    }

    fn eight(theirs: &mut CryptoMbRsa, key: &RsaKey, block: &[u8], look: impl Fn(&[u8])) {
        let mut out = [[0; 512]; LANES];
        let mut to = out.each_mut().map(|lane| &mut lane[..block.len()]);
        assert!(theirs.private(&[key; LANES], &[block; LANES], &mut to));
        to.iter().for_each(|lane| look(lane));
    }

    /// Whether it computes what it is timed for.
    fn check(theirs: &mut CryptoMbRsa, key: &RsaKey, block: &[u8]) {
        eight(theirs, key, block, |result| {
            assert!(key.verify_raw(result, block));
        });
    }

    fn per_second(mut call: impl FnMut()) -> f64 {
        let (start, mut done) = (Instant::now(), 0);
        while start.elapsed() < SLICE {
            call();
            done += LANES;
        }
        done as f64 / start.elapsed().as_secs_f64()
    }
}
