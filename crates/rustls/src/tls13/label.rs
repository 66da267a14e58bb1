//! HkdfLabel (RFC 8446, section 7.1), read and written.

use std::ops::Deref;

const PREFIX: &[u8] = b"tls13 ";
/// Bytes of a label with its context at most: the longest label that is written here has 12.
const MAX_LEN: usize = 2 + 1 + PREFIX.len() + 12 + 1 + 64 + 1;

/// What HKDF-Expand-Label is asked for.
pub(super) struct Label<'a> {
    /// Bytes of output.
    pub(super) len: usize,
    pub(super) label: &'a [u8],
    pub(super) context: &'a [u8],
}

/// An HkdfLabel and the number of HKDF-Expand's first and only block.
pub(super) struct Info {
    bytes: [u8; MAX_LEN],
    len: usize,
}

impl<'a> Label<'a> {
    /// Reads the parts that rustls makes of it; none if they are cut otherwise.
    pub(super) fn parse(info: &[&'a [u8]]) -> Option<Self> {
        match info {
            [len, _, PREFIX, label, _, context] => Some(Self {
                len: u16::from_be_bytes((*len).try_into().ok()?).into(),
                label,
                context,
            }),
            _ => None,
        }
    }
}

impl Info {
    /// # Panics
    /// If the label is longer than 12 bytes or the context than 64.
    pub(super) fn new(len: usize, label: &[u8], context: &[u8]) -> Self {
        // All three are short.
        let len_bytes = (len as u16).to_be_bytes();
        let label_len = [(PREFIX.len() + label.len()) as u8];
        let context_len = [context.len() as u8];
        let mut info = Self {
            bytes: [0; MAX_LEN],
            len: 0,
        };
        for part in [
            &len_bytes[..],
            &label_len,
            PREFIX,
            label,
            &context_len,
            context,
            &[1],
        ] {
            info.bytes[info.len..][..part.len()].copy_from_slice(part);
            info.len += part.len();
        }
        info
    }
}

impl Deref for Info {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}
