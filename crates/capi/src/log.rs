//! The log on stderr that `SPINLANE_LOG` asks for.

use std::cell::Cell;

use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, fmt};

/// Logs what `filter` lets through. Refused only where the program has a log of its own, which then gets the
/// events.
pub(crate) fn start(filter: &str) {
    let lines = fmt::layer().with_writer(std::io::stderr).with_ansi(false);
    let _ = tracing_subscriber::registry()
        .with(EnvFilter::new(filter))
        .with(UntilExit(lines))
        .try_init();
}

/// Where a thread stands with its log.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Unused,
    Used,
    /// Its destructors run.
    Gone,
}

thread_local! {
    static STATE: Cell<State> = const { Cell::new(State::Unused) };
    static END: End = const { End };
}

struct End;

impl Drop for End {
    fn drop(&mut self) {
        STATE.set(State::Gone);
    }
}

/// Loses events of a thread whose thread-local data is gone: the layer in it keeps a buffer there, and
/// panics without.
struct UntilExit<L>(L);

impl<S: Subscriber + for<'a> LookupSpan<'a>, L: Layer<S>> Layer<S> for UntilExit<L> {
    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        if STATE.get() == State::Gone {
            return;
        }
        self.0.on_event(event, context);
        if STATE.replace(State::Used) == State::Unused {
            // Made after what the layer has made, and so dropped before it.
            let _ = END.try_with(|_| ());
        }
    }
}
