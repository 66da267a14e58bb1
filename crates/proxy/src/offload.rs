//! What of a handshake's work goes to the device, and what is computed in place, in words.

use std::sync::Arc;

use spinlane::cryptodev::{Capabilities, KeyHandle, OpKind};

use crate::tls::Library;

/// A private key that serves.
#[derive(Clone, Debug)]
pub struct ServedKey {
    /// What errors call it.
    pub name: String,
    /// The op that it signs by; or why there is none, so that the TLS library signs.
    pub op: Result<OpKind, String>,
    /// The key, if its secret is on a PKCS#11 token, which signs.
    pub on_token: Option<Arc<KeyHandle>>,
}

impl ServedKey {
    /// Who signs by it.
    fn signer(&self, device: Capabilities) -> String {
        match &self.op {
            Ok(op) if self.on_token.is_some() => format!("stays on its token, {}", op.name()),
            Ok(op) if device.has(*op) => format!("offloaded, {}", op.name()),
            Ok(op) => format!("computed in place: the device has no {}", op.name()),
            Err(why) => format!("computed in place: {why}"),
        }
    }
}

/// Who signs by each of `keys`.
pub fn signers(keys: &[ServedKey], device: Capabilities) -> Vec<String> {
    let signers = keys.iter().map(|key| match keys {
        [_] => key.signer(device),
        _ => format!("{} ({})", key.signer(device), key.name),
    });
    signers.collect()
}

/// OpenSSL 3.0 does not have it.
const HYBRID: &str = "X25519MLKEM768";

/// Who exchanges keys, per group.
pub fn key_exchanges(library: Library, device: Capabilities) -> String {
    use OpKind as K;
    let groups = [
        (
            "X25519",
            K::X25519Exchange,
            [K::X25519Keygen, K::X25519Derive],
        ),
        (
            "P-256",
            K::EcdhP256Exchange,
            [K::EcdhP256Keygen, K::EcdhP256Derive],
        ),
        (
            "P-384",
            K::EcdhP384Exchange,
            [K::EcdhP384Keygen, K::EcdhP384Derive],
        ),
        // A server generates no ML-KEM keys.
        (HYBRID, K::X25519Exchange, [K::MlKem768Encap; 2]),
    ];
    let groups = groups
        .into_iter()
        .filter(|(group, ..)| library == Library::Rustls || *group != HYBRID);
    let (mut offloaded, mut in_place) = (Vec::new(), Vec::new());
    for (group, at_once, halves) in groups {
        let has_halves = halves.into_iter().all(|half| device.has(half));
        let is_offloaded = match library {
            Library::Openssl => has_halves,
            // In TLS 1.3 at once, in 1.2 by halves.
            Library::Rustls => has_halves && device.has(at_once),
        };
        let list = if is_offloaded {
            &mut offloaded
        } else {
            &mut in_place
        };
        list.push(group);
    }
    let parts = [("offloaded", offloaded), ("computed in place", in_place)];
    let parts = parts.iter().filter(|(_, groups)| !groups.is_empty());
    let parts = parts.map(|(what, groups)| format!("{what}: {}", groups.join(", ")));
    parts.collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str, op: Result<OpKind, String>) -> ServedKey {
        let name = name.to_owned();
        ServedKey {
            name,
            op,
            on_token: None,
        }
    }

    #[test]
    fn what_the_device_does_not_have_is_not_called_offloaded() {
        let device = Capabilities::NONE.with(OpKind::Rsa2048);
        let (rsa, p256) = (
            key("a", Ok(OpKind::Rsa2048)),
            key("b", Ok(OpKind::EcdsaP256)),
        );
        let other = key("c", Err("no device signs so".to_owned()));
        let one = |key: &ServedKey| signers(std::slice::from_ref(key), device).concat();
        assert_eq!(one(&rsa), "offloaded, rsa2048");
        assert_eq!(
            one(&p256),
            "computed in place: the device has no ecdsa-p256"
        );
        assert_eq!(one(&other), "computed in place: no device signs so");
        let both = signers(&[rsa, p256], device);
        assert_eq!(both[0], "offloaded, rsa2048 (a)");
        let in_place = "computed in place: the device has no ecdsa-p256 (b)";
        assert_eq!(both[1..], [in_place]);
    }

    #[test]
    fn each_group_is_told_by_all_of_its_ops() {
        let halves = Capabilities::NONE
            .with(OpKind::X25519Keygen)
            .with(OpKind::X25519Derive)
            .with(OpKind::EcdhP256Keygen);
        let told = |library, device| key_exchanges(library, device);
        let openssl = "offloaded: X25519; computed in place: P-256, P-384";
        assert_eq!(told(Library::Openssl, halves), openssl);
        let rustls = "computed in place: X25519, P-256, P-384, X25519MLKEM768";
        assert_eq!(told(Library::Rustls, halves), rustls);
        let all = "offloaded: X25519, P-256, P-384, X25519MLKEM768";
        assert_eq!(told(Library::Rustls, Capabilities::ALL), all);
    }
}
