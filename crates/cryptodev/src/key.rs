//! Keys as ops carry them: a public part, and where the secret is.

use std::any::Any;
use std::fmt;
use std::sync::{Arc, OnceLock};

use spinlane_crypto::{Key, PublicKey};

/// A private key of an op. Every op in flight shares it.
///
/// What is done when a device fails an op is the key's: with a local secret, software computes the op. With a
/// remote one another queue pair does whose device has the key, or the op ends with an error.
pub struct KeyHandle {
    secret: Secret,
    data: OnceLock<Box<Datum>>,
}

enum Secret {
    /// Numbers in memory, wiped when they go.
    Local(Key),
    Remote(Remote),
}

/// A secret that never leaves its device.
struct Remote {
    public: PublicKey,
    driver: &'static str,
    object: Box<dyn Any + Send + Sync>,
}

/// What one driver keeps with a key, and where the next driver's is.
struct Datum {
    value: Box<dyn Any + Send + Sync>,
    next: OnceLock<Box<Self>>,
}

impl KeyHandle {
    /// A key whose numbers are in memory. Any device may serve it.
    pub fn local(key: Key) -> Arc<Self> {
        Arc::new(key.into())
    }

    /// A key of the device driver called `driver`, which finds its secret by `object`. Only queue pairs that say
    /// so serve it ([`QueuePair::holds`](crate::QueuePair::holds)).
    pub fn remote(
        public: PublicKey,
        driver: &'static str,
        object: impl Any + Send + Sync,
    ) -> Arc<Self> {
        Arc::new(Self {
            secret: Secret::Remote(Remote {
                public,
                driver,
                object: Box::new(object),
            }),
            data: OnceLock::new(),
        })
    }

    /// Its type as it stands in messages.
    pub fn name(&self) -> &'static str {
        match &self.secret {
            Secret::Local(key) => key.name(),
            Secret::Remote(remote) => remote.public.name(),
        }
    }

    /// The numbers; `None` if the secret is a device's own.
    #[inline]
    pub fn as_local(&self) -> Option<&Key> {
        match &self.secret {
            Secret::Local(key) => Some(key),
            Secret::Remote(_) => None,
        }
    }

    /// The public part of a key whose secret is a device's own; `None` of a local one, whose numbers tell.
    pub fn as_remote(&self) -> Option<&PublicKey> {
        match &self.secret {
            Secret::Local(_) => None,
            Secret::Remote(remote) => Some(&remote.public),
        }
    }

    /// What the driver that made it finds the secret by; `None` if another driver made it.
    pub fn object<T: Any>(&self) -> Option<&T> {
        match &self.secret {
            Secret::Local(_) => None,
            Secret::Remote(remote) => remote.object.downcast_ref(),
        }
    }

    /// The driver whose device has the secret; `None` if it is in memory.
    pub fn driver(&self) -> Option<&'static str> {
        match &self.secret {
            Secret::Local(_) => None,
            Secret::Remote(remote) => Some(remote.driver),
        }
    }

    /// The modulus of an RSA key; `None` of any other.
    pub fn modulus(&self) -> Option<&[u8]> {
        match &self.secret {
            Secret::Local(Key::Rsa(key)) => Some(key.modulus()),
            Secret::Remote(Remote {
                public: PublicKey::Rsa(key),
                ..
            }) => Some(key.modulus()),
            _ => None,
        }
    }

    /// What a driver computes once from this key and keeps with it, as DPDK's session private data: found by its
    /// type `T`, made by `make` when it is first asked for, dropped with the key. Allocates, and blocks other
    /// threads that ask, the first time only.
    pub fn driver_data<T: Any + Send + Sync>(&self, make: impl Fn(&Self) -> T) -> &T {
        let mut place = &self.data;
        loop {
            let datum = place.get_or_init(|| {
                Box::new(Datum {
                    value: Box::new(make(self)),
                    next: OnceLock::new(),
                })
            });
            match datum.value.downcast_ref() {
                Some(value) => return value,
                None => place = &datum.next,
            }
        }
    }
}

impl From<Key> for KeyHandle {
    fn from(key: Key) -> Self {
        Self {
            secret: Secret::Local(key),
            data: OnceLock::new(),
        }
    }
}

impl fmt::Debug for KeyHandle {
    /// Nothing secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.secret {
            Secret::Local(key) => key.fmt(f),
            Secret::Remote(remote) => write!(f, "{} of {}", remote.public.name(), remote.driver),
        }
    }
}
