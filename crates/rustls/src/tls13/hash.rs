//! rustls' hashes by [`Hasher`], whose state is inline.

use std::sync::OnceLock;

use rustls::crypto::hash::{Context, Hash, HashAlgorithm, Output};
use spinlane_crypto::digest::{Digest, Hasher, MAX_DIGEST_LEN};

pub(super) static SHA256: InlineHash = InlineHash::new(Digest::Sha256);
pub(super) static SHA384: InlineHash = InlineHash::new(Digest::Sha384);

/// A hash function.
pub(super) struct InlineHash {
    digest: Digest,
    /// Hash of nothing, which every key schedule asks for.
    empty: OnceLock<[u8; MAX_DIGEST_LEN]>,
}

/// A running hash.
struct Running {
    hasher: Hasher,
    /// The hash of what it has taken in, once it was asked for: rustls asks twice for that of a transcript up
    /// to the server's Finished message.
    so_far: OnceLock<Output>,
    is_empty: bool,
    hash: &'static InlineHash,
}

impl InlineHash {
    const fn new(digest: Digest) -> Self {
        Self {
            digest,
            empty: OnceLock::new(),
        }
    }

    fn empty(&self) -> &[u8] {
        let empty = self.empty.get_or_init(|| {
            let mut out = [0; MAX_DIGEST_LEN];
            self.digest.hash(&[], &mut out);
            out
        });
        &empty[..self.digest.len()]
    }

    fn of(digest: Digest) -> &'static Self {
        match digest {
            Digest::Sha384 => &SHA384,
            Digest::Sha256 | Digest::Sha512 => &SHA256,
        }
    }
}

impl Hash for InlineHash {
    fn start(&self) -> Box<dyn Context> {
        Box::new(Running {
            hasher: Hasher::new(self.digest),
            so_far: OnceLock::new(),
            is_empty: true,
            hash: Self::of(self.digest),
        })
    }

    fn hash(&self, data: &[u8]) -> Output {
        if data.is_empty() {
            return Output::new(self.empty());
        }
        let mut out = [0; MAX_DIGEST_LEN];
        self.digest.hash(&[data], &mut out);
        Output::new(&out[..self.digest.len()])
    }

    fn output_len(&self) -> usize {
        self.digest.len()
    }

    fn algorithm(&self) -> HashAlgorithm {
        match self.digest {
            Digest::Sha256 => HashAlgorithm::SHA256,
            Digest::Sha384 => HashAlgorithm::SHA384,
            Digest::Sha512 => HashAlgorithm::SHA512,
        }
    }
}

impl Running {
    fn output(&self, hasher: Hasher) -> Output {
        if self.is_empty {
            return Output::new(self.hash.empty());
        }
        let mut out = [0; MAX_DIGEST_LEN];
        let len = hasher.digest().len();
        hasher.finish(&mut out);
        Output::new(&out[..len])
    }
}

impl Context for Running {
    fn fork_finish(&self) -> Output {
        let so_far = self.so_far.get_or_init(|| self.output(self.hasher.clone()));
        Output::new(so_far.as_ref())
    }

    fn fork(&self) -> Box<dyn Context> {
        Box::new(Self {
            hasher: self.hasher.clone(),
            so_far: OnceLock::new(),
            ..*self
        })
    }

    fn finish(self: Box<Self>) -> Output {
        let hasher = self.hasher.clone();
        self.output(hasher)
    }

    fn update(&mut self, data: &[u8]) {
        self.so_far.take();
        self.is_empty &= data.is_empty();
        self.hasher.update(data);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_of_all_that_was_taken_in_before_it_was_asked_for() {
        for hash in [&SHA256, &SHA384] {
            let mut running = hash.start();
            for end in 0..200u8 {
                let taken: Vec<u8> = (0..end).collect();
                let expected = hash.hash(&taken);
                assert_eq!(running.fork_finish().as_ref(), expected.as_ref());
                assert_eq!(running.fork_finish().as_ref(), expected.as_ref());
                let mut other = running.fork();
                other.update(b"of its own");
                let more = hash.hash(&[&taken[..], b"of its own"].concat());
                assert_eq!(other.fork_finish().as_ref(), more.as_ref());
                running.update(&[end]);
            }
        }
    }
}
