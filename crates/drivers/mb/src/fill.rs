//! From how many ops on lanes pay: measured once per process, on the machine that it is.
//!
//! A batch takes as long for one op as for eight, so that it pays from as many ops as take longer one by one. What is
//! measured is a matter of speed alone: whatever comes out, every op is computed.

use std::sync::OnceLock;
use std::time::Instant;

use spinlane_crypto::curve::{Curve, P256, P384};
use spinlane_crypto::mlkem;
use spinlane_crypto::test_keys::der;
use spinlane_cryptodev::test_keys::{ed25519, p256, p384, rsa};
use spinlane_cryptodev::{Op, OpKind, Request, RequestError, Token, cpu};

use crate::ffi::{Cpu, LANES};
use crate::lanes::Lanes;

/// As many ops as never come together: lanes do not pay.
pub(crate) const NEVER: usize = LANES + 1;
/// Each is timed so often, and the shortest time counts: what took longer had something else in between, or was
/// the first.
const ROUNDS: usize = 3;

/// What was measured of a kind.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Fill {
    /// Nanoseconds that an op takes by aws-lc.
    pub(crate) one_ns: u64,
    /// Nanoseconds that a full batch takes.
    pub(crate) batch_ns: u64,
}

/// One per kind, in the order of [`OpKind::ALL`].
pub(crate) type Fills = [Fill; OpKind::COUNT];

impl Fill {
    /// Ops from which a batch is faster than one after the other, 1 to 8, or [`NEVER`].
    pub(crate) fn pays_from(self) -> usize {
        let longer = self.batch_ns / self.one_ns.max(1);
        1 + longer.min(LANES as u64) as usize
    }
}

/// Those of this machine. The first call of a process measures them.
pub(crate) fn measured(cpu: Cpu) -> &'static Fills {
    static MEASURED: OnceLock<Fills> = OnceLock::new();
    MEASURED.get_or_init(|| measure(cpu))
}

/// What people are told of them.
pub(crate) fn notes(fills: &Fills) -> Vec<String> {
    let note = |(kind, fill): (OpKind, &Fill)| {
        let from = match fill.pays_from() {
            NEVER => "never".to_owned(),
            from => format!("from {from} ops on"),
        };
        let [one, batch] = [fill.one_ns, fill.batch_ns].map(|ns| ns as f64 / 1e3);
        let why = match kind {
            OpKind::Rsa3072 | OpKind::Rsa4096 => format!("as for {}", OpKind::Rsa2048),
            _ => format!("measured here: one op {one:.1} us, eight {batch:.1} us"),
        };
        format!("{:<18} lanes pay {from}; {why}", kind.name())
    };
    OpKind::ALL.into_iter().zip(fills).map(note).collect()
}

/// What a kind's time is made of, how often each; empty: it is timed itself. The dearest kinds are not, to take no
/// longer than a few milliseconds: an exchange is two other ops, and longer moduli take both ways longer, about alike.
const fn parts(kind: OpKind) -> &'static [(OpKind, u64)] {
    match kind {
        OpKind::Rsa3072 => &[(OpKind::Rsa2048, 3)],
        OpKind::Rsa4096 => &[(OpKind::Rsa2048, 7)],
        OpKind::X25519Exchange => &[(OpKind::X25519Keygen, 1), (OpKind::X25519Derive, 1)],
        OpKind::EcdhP256Exchange => &[(OpKind::EcdhP256Keygen, 1), (OpKind::EcdhP256Derive, 1)],
        OpKind::EcdhP384Exchange => &[(OpKind::EcdhP384Keygen, 1), (OpKind::EcdhP384Derive, 1)],
        _ => &[],
    }
}

fn measure(cpu: Cpu) -> Fills {
    let mut lanes = Lanes::new(cpu);
    let mut fills = OpKind::ALL.map(|kind| match parts(kind) {
        [] => time(&mut lanes, kind),
        _ => Fill::default(),
    });
    for kind in OpKind::ALL {
        for (part, times) in parts(kind) {
            let Fill { one_ns, batch_ns } = fills[part.index()];
            fills[kind.index()].one_ns += times * one_ns;
            fills[kind.index()].batch_ns += times * batch_ns;
        }
    }
    fills
}

fn time(lanes: &mut Lanes, kind: OpKind) -> Fill {
    let shortest = |run: &mut dyn FnMut()| {
        let took_ns = |_| {
            let start = Instant::now();
            run();
            start.elapsed().as_nanos() as u64
        };
        (0..ROUNDS).map(took_ns).min().unwrap_or(0)
    };
    let mut ops: Vec<_> = (0..LANES).map(|_| op(kind)).collect();
    Fill {
        one_ns: shortest(&mut || cpu::run(&mut ops[0])),
        batch_ns: shortest(&mut || lanes.run(kind, &mut ops)),
    }
}

/// An op with operands that everybody knows. Nobody sees what comes out.
fn op(kind: OpKind) -> Box<Op> {
    const SHORT: &[u8; 32] = &[0x31; 32];
    const LONG: &[u8; 48] = &[0x31; 48];
    match kind {
        OpKind::Rsa2048 => of(Request::rsa_private(&rsa(der::RSA_2048), &[0x21; 256])),
        OpKind::Rsa3072 => of(Request::rsa_private(&rsa(der::RSA_3072), &[0x21; 384])),
        OpKind::Rsa4096 => of(Request::rsa_private(&rsa(der::RSA_4096), &[0x21; 512])),
        OpKind::EcdsaP256 => of(Request::ecdsa_p256(&p256(1), SHORT)),
        OpKind::EcdsaP384 => of(Request::ecdsa_p384(&p384(1), LONG)),
        // As long as what a server signs in TLS 1.3.
        OpKind::Ed25519 => of(Request::ed25519(&ed25519(1), &[0x31; 130])),
        OpKind::X25519Keygen => of(Ok(Request::x25519_keygen(SHORT))),
        OpKind::X25519Derive => of(Ok(Request::x25519_derive(SHORT, SHORT))),
        OpKind::X25519Exchange => of(Ok(Request::x25519_exchange(SHORT, SHORT))),
        OpKind::EcdhP256Keygen => of(Request::ecdh_p256_keygen(SHORT)),
        OpKind::EcdhP256Derive => of(Request::ecdh_p256_derive(SHORT, &P256::GENERATOR)),
        OpKind::EcdhP256Exchange => of(Request::ecdh_p256_exchange(SHORT, &P256::GENERATOR)),
        OpKind::EcdhP384Keygen => of(Request::ecdh_p384_keygen(LONG)),
        OpKind::EcdhP384Derive => of(Request::ecdh_p384_derive(LONG, &P384::GENERATOR)),
        OpKind::EcdhP384Exchange => of(Request::ecdh_p384_exchange(LONG, &P384::GENERATOR)),
        OpKind::MlKem768Keygen => of(Ok(Request::ml_kem_768_keygen(&[0x31; mlkem::SEED]))),
        OpKind::MlKem768Encap => {
            let pair = computed(OpKind::MlKem768Keygen);
            let public = pair.output().first_chunk();
            of(Ok(Request::ml_kem_768_encap(
                public.expect("in front"),
                SHORT,
            )))
        }
        OpKind::MlKem768Decap => {
            let [pair, sealed] = [OpKind::MlKem768Keygen, OpKind::MlKem768Encap].map(computed);
            let (private, ciphertext) = (pair.output().last_chunk(), sealed.output().first_chunk());
            let (private, ciphertext) = (private.expect("behind"), ciphertext.expect("in front"));
            of(Ok(Request::ml_kem_768_decap(private, ciphertext)))
        }
    }
}

fn of(request: Result<Request<'_>, RequestError>) -> Box<Op> {
    let mut op = Op::new();
    op.prepare(
        Token(0),
        &request.expect("a key, and a request, of that kind"),
        0,
    );
    op
}

fn computed(kind: OpKind) -> Box<Op> {
    let mut op = op(kind);
    cpu::run(&mut op);
    op
}

#[cfg(test)]
mod tests {
    use spinlane_cryptodev::OpStatus;

    use super::*;

    #[test]
    fn every_kind_has_operands_that_come_out_right() {
        for kind in OpKind::ALL {
            let op = computed(kind);
            assert_eq!((op.kind(), op.status), (kind, OpStatus::Success));
        }
    }

    #[test]
    fn lanes_pay_when_a_batch_is_faster() {
        for (batch_ns, from) in [
            (u64::MAX, NEVER),
            (800, NEVER),
            (799, 8),
            (250, 3),
            (200, 3),
            (199, 2),
            (99, 1),
            (0, 1),
        ] {
            let one_ns = 100;
            assert_eq!(Fill { one_ns, batch_ns }.pays_from(), from, "{batch_ns}");
        }
        let (one_ns, batch_ns) = (0, u64::MAX);
        assert_eq!(Fill { one_ns, batch_ns }.pays_from(), NEVER);
    }

    #[test]
    fn what_is_measured_is_of_this_machine_and_measured_once() {
        let Ok(cpu) = Cpu::detect() else {
            return eprintln!("skipped: this machine has no lanes");
        };
        let fills = measured(cpu);
        assert!(std::ptr::eq(fills, measured(cpu)));
        let timed = |fill: &Fill| fill.one_ns != 0 && fill.batch_ns != 0;
        assert!(fills.iter().all(timed), "{fills:?}");
        let notes = notes(fills);
        for (kind, note) in OpKind::ALL.into_iter().zip(&notes) {
            assert!(note.starts_with(kind.name()), "{note}");
        }
    }
}
