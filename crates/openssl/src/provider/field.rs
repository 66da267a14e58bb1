//! Octets that a context keeps of its parameters.

use spinlane_crypto::digest::MAX_DIGEST_LEN;
use zeroize::Zeroize;

use super::error::raise;
use super::params::Param;

/// An octet string, inline as long as it is no longer than a digest.
#[derive(Clone, Default)]
pub(super) struct Field {
    set: bool,
    inline_len: usize,
    inline: InlineBytes,
    long: Vec<u8>,
}

#[derive(Clone)]
struct InlineBytes([u8; MAX_DIGEST_LEN]);

impl Default for InlineBytes {
    fn default() -> Self {
        Self([0; MAX_DIGEST_LEN])
    }
}

impl Field {
    /// Takes in the value of `param`. Returns `false`, with an error queued, if it has no octets.
    pub fn set(&mut self, param: Param<'_>) -> bool {
        let Some(bytes) = param.octets() else {
            self.clear();
            raise(format_args!(
                "parameter {:?} is no octet string; give it one",
                param.key()
            ));
            return false;
        };
        self.clear();
        self.set = true;
        if let Some(inline) = self.inline.0.get_mut(..bytes.len()) {
            inline.copy_from_slice(bytes);
            self.inline_len = bytes.len();
        } else {
            self.long = bytes.to_vec();
        }
        true
    }

    /// Returns the octets, which may be empty; `None` if they were not set.
    pub fn get(&self) -> Option<&[u8]> {
        let bytes = if self.long.is_empty() {
            &self.inline.0[..self.inline_len]
        } else {
            &self.long
        };
        self.set.then_some(bytes)
    }

    /// Wipes them.
    pub fn clear(&mut self) {
        self.inline.0[..self.inline_len].zeroize();
        self.long.zeroize();
        self.inline_len = 0;
        self.set = false;
    }
}

impl Drop for Field {
    fn drop(&mut self) {
        self.clear();
    }
}
