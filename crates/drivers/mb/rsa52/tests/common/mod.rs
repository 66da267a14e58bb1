//! Keys that OpenSSL and the lanes share.

use openssl::bn::{BigNum, BigNumContext, BigNumRef};
use openssl::pkey::Private;
use openssl::rsa::{Padding, Rsa};
use spinlane_rsa52::{Cpu, KeyParts, LANES, PrivateKey, RsaLanes};

/// The CPU, or `None` where it has no IFMA: the test says so and ends.
pub fn cpu() -> Option<Cpu> {
    Cpu::detect()
        .inspect_err(|missing| eprintln!("skipped: this CPU lacks {missing}"))
        .ok()
}

/// One key, twice.
pub struct Key {
    pub theirs: Rsa<Private>,
    pub ours: PrivateKey,
}

impl Key {
    pub fn generate(bits: u32) -> Self {
        let theirs = Rsa::generate(bits).unwrap();
        let ours = convert(&theirs, 0);
        Self { theirs, ours }
    }

    /// The same with another p, which is not prime.
    pub fn broken(&self) -> PrivateKey {
        convert(&self.theirs, 1 << 40)
    }

    /// OpenSSL's result.
    pub fn sign(&self, block: &[u8]) -> Vec<u8> {
        let mut out = vec![0; block.len()];
        let written = self
            .theirs
            .private_encrypt(block, &mut out, Padding::NONE)
            .unwrap();
        assert_eq!(written, block.len());
        out
    }

    /// The power itself, for blocks that no one signs.
    pub fn power(&self, block: &[u8]) -> Vec<u8> {
        let mut power = BigNum::new().unwrap();
        let base = BigNum::from_slice(block).unwrap();
        let mut context = BigNumContext::new().unwrap();
        power
            .mod_exp(&base, self.theirs.d(), self.theirs.n(), &mut context)
            .unwrap();
        power.to_vec_padded(block.len() as i32).unwrap()
    }
}

fn convert(key: &Rsa<Private>, change_of_p: u64) -> PrivateKey {
    let bits = key.size() * 8;
    let words = |number: &BigNumRef, bits: u32| -> Vec<u64> {
        let bytes = number.to_vec_padded(bits as i32 / 8).unwrap();
        bytes
            .rchunks(8)
            .map(|word| u64::from_be_bytes(word.try_into().unwrap()))
            .collect()
    };
    let half = |number: Option<&BigNumRef>| words(number.unwrap(), bits / 2);
    let mut p = half(key.p());
    p[1] ^= change_of_p;
    PrivateKey::new(&KeyParts {
        n: &words(key.n(), bits),
        p: &p,
        q: &half(key.q()),
        dp: &half(key.dmp1()),
        dq: &half(key.dmq1()),
        qinv: &half(key.iqmp()),
    })
    .unwrap()
}

/// Random bytes below the key's modulus.
pub fn random_block(key: &Key) -> Vec<u8> {
    let mut block = vec![0; key.theirs.size() as usize];
    openssl::rand::rand_bytes(&mut block).unwrap();
    block[0] &= 0x7f;
    block
}

/// One batch; which lanes are good, and what each gave.
pub fn batch(
    lanes: &mut RsaLanes,
    keys: &[&Key; LANES],
    blocks: &[Vec<u8>; LANES],
) -> ([bool; LANES], [Vec<u8>; LANES]) {
    let mut signatures = blocks.each_ref().map(|block| vec![0xaa; block.len()]);
    let good = lanes.private(
        &keys.map(|key| &key.ours),
        &blocks.each_ref().map(Vec::as_slice),
        &mut signatures.each_mut().map(Vec::as_mut_slice),
    );
    (good, signatures)
}
