//! What is counted, for all threads of a pool.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counters by name.
macro_rules! counters {
    ($($(#[doc = $doc:literal])* $name:ident,)*) => {
        /// What happened since the token was opened. Every value only grows.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Counts {
            $($(#[doc = $doc])* pub $name: u64,)*
        }

        impl Counts {
            /// The values by name.
            pub fn by_name(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name),)*]
            }
        }

        #[derive(Debug, Default)]
        pub(crate) struct Counters {
            $(pub(crate) $name: AtomicU64,)*
        }

        impl Counters {
            pub(crate) fn read(&self) -> Counts {
                Counts {
                    $($name: self.$name.load(Ordering::Relaxed),)*
                }
            }
        }
    };
}

counters! {
    /// Sessions opened.
    sessions_opened,
    /// Sessions that the module, or the token, lost.
    sessions_lost,
    /// Logins that the token took.
    logins,
    /// PINs that the token refused.
    pins_refused,
    /// Times that the token was found not to be there.
    token_away,
    /// Times that the module was finalised and initialised again.
    module_restarts,
    /// Ops run a second time, in a new session.
    retries,
    /// Results that did not fit the public key.
    wrong_results,
    /// Threads given up because the module did not return.
    threads_stuck,
    /// Threads given up whose call returned after all.
    threads_returned,
    /// Panics caught in the module's wrapper.
    panics,
    /// Wakes of a thread that slept: each a system call on the poll core.
    wakes,
}

/// Counts one.
pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
