//! What is counted, for all threads of a pool.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::Failure;

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

/// Failed ops of one queue pair, by reason.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct FailureCounts([u64; FAILURES.len()]);

/// Names of the reasons, in the order of [`FailureCounts::place`].
const FAILURES: [&str; 10] = [
    "failed_session_lost",
    "failed_token_away",
    "failed_pin_refused",
    "failed_no_key",
    "failed_refused",
    "failed_module",
    "failed_wrong_result",
    "failed_stuck",
    "failed_waited",
    "failed_other",
];

impl FailureCounts {
    pub(crate) fn count(&mut self, failure: Failure) {
        self.0[Self::place(failure)] += 1;
    }

    pub(crate) fn by_name(&self) -> impl Iterator<Item = (&'static str, u64)> {
        FAILURES.into_iter().zip(self.0)
    }

    fn place(failure: Failure) -> usize {
        match failure {
            Failure::Session => 0,
            Failure::Token => 1,
            Failure::Pin => 2,
            Failure::Key => 3,
            Failure::Refused(_) => 4,
            Failure::Module(_) => 5,
            Failure::Wrong => 6,
            Failure::Stuck => 7,
            Failure::Waited => 8,
            Failure::Unsupported | Failure::Stopped | Failure::Forked | Failure::Panicked => 9,
        }
    }
}
