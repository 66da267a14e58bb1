//! ML-KEM-768 (FIPS 203), by the kernels of `spinlane-mlkem`.
//!
//! Results are not checked, as AWS-LC does not: a wrong one makes a handshake fail, and seeds, messages and keys serve once.

use std::array;

use spinlane_cryptodev::{Op, OpKind, OpStatus};
use spinlane_mlkem::{Decapsulation, Encapsulation, KeyGeneration, LANES, MlKem768, Outcome};

use super::{Lanes, Rooms};

/// Input of lanes that are not used.
const NOTHING: &[u8] = &[0; 64];
const HAS_OPERANDS: &str =
    "an op that lanes serve has its operands, and a spare place has 512 bytes";

/// Whether `op` has its operands.
pub(super) fn takes(op: &Op) -> bool {
    let kind: OpKind = op.kind();
    (op.input().len(), op.output().len()) == (kind.input_len(), kind.output_len())
}

/// Eight pairs of input and output, of which the first are those of `ops`.
fn operands<'a>(
    ops: &'a mut [Box<Op>],
    spare: &'a mut Rooms,
) -> impl Iterator<Item = (&'a [u8], &'a mut [u8])> {
    let unused = spare.iter_mut().map(|room| (NOTHING, &mut room[..]));
    ops.iter_mut().map(|op| op.buffers()).chain(unused)
}

/// Sets each op's status. What was refused, a key, is its input's fault, and its output is zero.
fn finish(ops: &mut [Box<Op>], outcome: Outcome) {
    for (op, outcome) in ops.iter_mut().zip(outcome) {
        op.status = match outcome {
            Ok(()) => OpStatus::Success,
            Err(_) => OpStatus::Invalid,
        };
    }
}

impl Lanes {
    pub(super) fn mlkem_keygen(&mut self, ops: &mut [Box<Op>]) {
        let fill = ops.len();
        let mut operands = operands(ops, &mut self.spare);
        let mut lanes: [_; LANES] = array::from_fn(|_| {
            let (seed, pair) = operands.next().expect(HAS_OPERANDS);
            let middle = MlKem768::ENCAPSULATION_KEY.min(pair.len());
            let (encapsulation_key, decapsulation_key) = pair.split_at_mut(middle);
            KeyGeneration {
                d: seed.first_chunk().expect(HAS_OPERANDS),
                z: seed.last_chunk().expect(HAS_OPERANDS),
                encapsulation_key,
                decapsulation_key,
            }
        });
        self.mlkem.generate(&mut lanes[..fill]);
        drop(operands);
        finish(ops, [Ok(()); LANES]);
    }

    /// A key that is not canonical makes its own lane invalid.
    pub(super) fn mlkem_encap(&mut self, ops: &mut [Box<Op>]) {
        let fill = ops.len();
        let mut operands = operands(ops, &mut self.spare);
        let mut lanes: [_; LANES] = array::from_fn(|_| {
            let (input, output) = operands.next().expect(HAS_OPERANDS);
            let (encapsulation_key, m) = input.split_last_chunk().expect(HAS_OPERANDS);
            let (ciphertext, shared_secret) = output.split_last_chunk_mut().expect(HAS_OPERANDS);
            Encapsulation {
                encapsulation_key,
                m,
                ciphertext,
                shared_secret,
            }
        });
        let outcome = self.mlkem.encapsulate(&mut lanes[..fill]);
        drop(operands);
        finish(ops, outcome);
    }

    /// A key that is not whole makes its own lane invalid.
    pub(super) fn mlkem_decap(&mut self, ops: &mut [Box<Op>]) {
        let fill = ops.len();
        let mut operands = operands(ops, &mut self.spare);
        let mut lanes: [_; LANES] = array::from_fn(|_| {
            let (input, output) = operands.next().expect(HAS_OPERANDS);
            let middle = MlKem768::DECAPSULATION_KEY.min(input.len());
            let (decapsulation_key, ciphertext) = input.split_at(middle);
            Decapsulation {
                decapsulation_key,
                ciphertext,
                shared_secret: output.first_chunk_mut().expect(HAS_OPERANDS),
            }
        });
        let outcome = self.mlkem.decapsulate(&mut lanes[..fill]);
        drop(operands);
        finish(ops, outcome);
    }
}
