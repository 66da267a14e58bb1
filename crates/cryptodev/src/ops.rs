//! One file per family of private-key ops: each kind's entry in the table, its computation on the CPU, and the
//! requests for it.

pub(crate) mod ecdh;
pub(crate) mod ecdsa;
pub(crate) mod ed25519;
pub(crate) mod mlkem;
pub(crate) mod rsa;
pub(crate) mod x25519;

pub use rsa::PssHash;

use crate::kind::{Compute, OpKind, OpSpec};
use crate::op::OpStatus;

/// Longest output of an op that has a key.
pub const MAX_OUTPUT: usize = 512;
/// Longest output of an op without a check of its own, and of all kinds there are.
pub(crate) const LONGEST_OUTPUT: usize = {
    let (mut longest, mut index) = (0, 0);
    while index < OpKind::COUNT {
        let len = OpKind::ALL[index].output_len();
        longest = if len > longest { len } else { longest };
        index += 1;
    }
    longest
};

/// The entry of a kind that needs no key: its operands come with the request, and some are secret.
const fn without_key(
    name: &'static str,
    input_len: usize,
    output_len: usize,
    compute: Compute,
) -> OpSpec {
    OpSpec {
        name,
        key: None,
        input_len,
        input_varies: false,
        output_len,
        compute,
        check: None,
        is_secret: true,
        leaks_when_wrong: false,
    }
}

/// Success, or `otherwise`.
fn by(ok: bool, otherwise: OpStatus) -> OpStatus {
    if ok { OpStatus::Success } else { otherwise }
}
