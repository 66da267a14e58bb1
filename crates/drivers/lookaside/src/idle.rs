//! What a crypto core does while there is nothing to do.

use std::time::Duration;

/// From busy to idle: look again at once, then with a `pause` instruction in between, then, if
/// so configured, after a sleep. An op that arrives starts from the beginning.
///
/// `pause` and not `tpause`: few CPUs have the latter, and it saves power rather than time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdlePolicy {
    /// Looks in a row without a `pause`.
    pub spin: u32,
    /// Looks with a `pause` before the first sleep. Without a sleep they go on for ever.
    pub pause: u32,
    /// How long to sleep between looks then; `None`: never, for a core of its own. With a sleep
    /// the core can be shared, and an op that finds it asleep waits that much longer.
    pub sleep: Option<Duration>,
}

impl IdlePolicy {
    /// For a core that nobody else uses: never sleeps.
    pub const DEDICATED: Self = Self {
        spin: 64,
        pause: u32::MAX,
        sleep: None,
    };

    /// For a core that others use: sleeps for `sleep` after 2000 looks (about 100 µs) in vain.
    pub const fn shared(sleep: Duration) -> Self {
        Self {
            spin: 64,
            pause: 2000,
            sleep: Some(sleep),
        }
    }
}

impl Default for IdlePolicy {
    fn default() -> Self {
        Self::DEDICATED
    }
}

/// How long nothing has happened.
pub(crate) struct Idle {
    policy: IdlePolicy,
    looks: u32,
}

/// What comes before the next look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Spin,
    Pause,
    Sleep(Duration),
}

impl Idle {
    pub(crate) fn new(policy: IdlePolicy) -> Self {
        Self { policy, looks: 0 }
    }

    /// Something happened.
    pub(crate) fn reset(&mut self) {
        self.looks = 0;
    }

    /// Nothing did.
    pub(crate) fn wait(&mut self) {
        match self.step() {
            Step::Spin => {}
            Step::Pause => std::hint::spin_loop(),
            Step::Sleep(time) => std::thread::sleep(time),
        }
    }

    fn step(&mut self) -> Step {
        let IdlePolicy { spin, pause, sleep } = self.policy;
        self.looks = self.looks.saturating_add(1);
        match sleep {
            _ if self.looks <= spin => Step::Spin,
            Some(time) if self.looks > spin.saturating_add(pause) => Step::Sleep(time),
            _ => Step::Pause,
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn steps(policy: IdlePolicy, count: usize) -> Vec<Step> {
        let mut idle = Idle::new(policy);
        std::iter::repeat_with(|| idle.step()).take(count).collect()
    }

    #[test]
    fn spins_then_pauses_then_sleeps() {
        let time = Duration::from_micros(5);
        let policy = IdlePolicy {
            spin: 1,
            pause: 2,
            sleep: Some(time),
        };
        let sleep = Step::Sleep(time);
        assert_eq!(
            steps(policy, 5),
            [Step::Spin, Step::Pause, Step::Pause, sleep, sleep]
        );
    }

    #[test]
    fn without_a_sleep_pauses_for_ever() {
        let policy = IdlePolicy {
            spin: 0,
            pause: 1,
            sleep: None,
        };
        assert_eq!(steps(policy, 3), [Step::Pause; 3]);
    }

    #[test]
    fn an_op_starts_it_over() {
        let mut idle = Idle::new(IdlePolicy {
            spin: 1,
            ..IdlePolicy::DEDICATED
        });
        assert_eq!((idle.step(), idle.step()), (Step::Spin, Step::Pause));
        idle.reset();
        assert_eq!(idle.step(), Step::Spin);
    }
}
