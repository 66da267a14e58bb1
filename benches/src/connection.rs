//! A connection with the least front-end there is: a job that submits one op after the other, and a
//! callback that makes it ready.

use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::rc::Rc;

use spinlane_job::{self as job, Callback, Job, Progress, WaitCtx};
use spinlane_lcore::{Conn, Lcore};

/// A job that is paused on an op, whenever it does not run.
pub struct Connection {
    job: Rc<Job>,
    _wait_ctx: Rc<WaitCtx>,
    /// What the callback is called with.
    _notice: Box<Notice>,
}

struct Notice {
    lcore: Lcore,
    conn: Conn,
}

extern "C" fn queue_connection(notice: *mut c_void) -> c_int {
    // SAFETY: it points to the notice of a connection, which outlives its job.
    let notice = unsafe { &*notice.cast::<Notice>() };
    notice.lcore.make_ready(notice.conn);
    1
}

impl Connection {
    /// A job on `lcore`, which is the current one, that calls `submit` until `stop` is set; `submit` pauses.
    ///
    /// # Panics
    /// It does not pause: `lcore` has no device for its op, or the pool no job.
    pub fn start(
        lcore: &Lcore,
        conn: Conn,
        stop: &Rc<Cell<bool>>,
        mut submit: impl FnMut() + 'static,
    ) -> Self {
        let mut notice = Box::new(Notice {
            lcore: lcore.clone(),
            conn,
        });
        let wait_ctx = WaitCtx::new();
        wait_ctx.set_callback(Some(Callback {
            function: queue_connection,
            argument: std::ptr::from_mut(&mut *notice).cast(),
        }));
        let stop = Rc::clone(stop);
        let submit_until_stopped = move || {
            while !stop.get() {
                submit();
            }
            0
        };
        match job::start(Some(&wait_ctx), submit_until_stopped) {
            Ok((Progress::Paused, Some(job))) => Self {
                job,
                _wait_ctx: wait_ctx,
                _notice: notice,
            },
            _ => panic!("the job did not pause"),
        }
    }

    /// Goes on with the job, whose op is done.
    ///
    /// # Panics
    /// It is not paused.
    pub fn resume(&self) {
        let resumed = self.job.resume();
        resumed.expect("it is paused");
    }
}
