//! A connection with the least front-end there is: a job that submits one op after the other, and a
//! name for the ready queue.

use std::cell::Cell;
use std::rc::Rc;

use spinlane_job::{self as job, Job, Progress, WaitCtx};
use spinlane_lcore::Conn;

/// A job that is paused on an op, whenever it does not run.
pub struct Connection {
    job: Rc<Job>,
    _wait_ctx: Rc<WaitCtx>,
}

impl Connection {
    /// A job on the current lcore that calls `submit` until `stop` is set; `submit` pauses.
    ///
    /// # Panics
    /// It does not pause: the lcore has no device for its op, or the pool no job.
    pub fn start(conn: Conn, stop: &Rc<Cell<bool>>, mut submit: impl FnMut() + 'static) -> Self {
        let wait_ctx = WaitCtx::new();
        wait_ctx.set_notify(Some(conn.into()));
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
