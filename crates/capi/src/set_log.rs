//! The log handed to a function of the application's.

use std::ffi::{CString, c_char, c_int, c_void};
use std::fmt::{Debug, Write};

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

use crate::error::{check, failure, null};
use crate::start;

/// Gets the argument, a level and a line.
type LogFn = extern "C" fn(*mut c_void, c_int, *const c_char);

/// Hands each event to a function.
struct Handed {
    function: LogFn,
    argument: *mut c_void,
}

// SAFETY: the application promises that the function may be called with the argument on any thread; nothing else is
// done with either.
unsafe impl Send for Handed {}
// SAFETY: the same.
unsafe impl Sync for Handed {}

impl<S: Subscriber> Layer<S> for Handed {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut line = Line::default();
        event.record(&mut line);
        let line = CString::new((line.message + &line.fields).replace('\0', " "));
        (self.function)(
            self.argument,
            number(*event.metadata().level()),
            line.unwrap_or_default().as_ptr(),
        );
    }
}

/// What spinlane.h calls a level.
fn number(level: Level) -> c_int {
    match level {
        Level::ERROR => 1,
        Level::WARN => 2,
        Level::INFO => 3,
        Level::DEBUG => 4,
        Level::TRACE => 5,
    }
}

/// An event as a line: its message, and what belongs to it by name.
#[derive(Default)]
struct Line {
    message: String,
    fields: String,
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        // Text takes all that is written.
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }
}

/// Has `log` called with all that is at least as bad as `level`.
#[unsafe(no_mangle)]
pub extern "C" fn spinlane_set_log(level: c_int, log: Option<LogFn>, arg: *mut c_void) -> c_int {
    check(|| {
        let function = log.ok_or_else(|| null("log"))?;
        let filter = match level {
            1 => LevelFilter::ERROR,
            2 => LevelFilter::WARN,
            3 => LevelFilter::INFO,
            4 => LevelFilter::DEBUG,
            5 => LevelFilter::TRACE,
            _ => {
                return Err(failure(format!(
                    "log level {level}; there are 1 (errors) to 5 (all)"
                )));
            }
        };
        let layer = Handed {
            function,
            argument: arg,
        }
        .with_filter(filter);
        tracing_subscriber::registry().with(layer).try_init().map_err(|_| {
            failure("the process has a log already, set before or by SPINLANE_LOG; set it once, before all else")
        })?;
        start();
        Ok(())
    })
}
