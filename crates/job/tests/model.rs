//! Random sequences of starts, resumes and endings against a model that keeps a few numbers
//! per job instead of a fiber.

use std::cell::RefCell;
use std::rc::Rc;

use proptest::prelude::*;
use spinlane_job::{
    self as job, Job, Progress, ResumeError, cleanup_thread, init_thread, pool_stats,
};

const MAX_JOBS: usize = 3;

/// What one job's function does, in order.
#[derive(Clone, Copy, Debug)]
enum Step {
    Pause,
    Await,
    Block,
    Unblock,
    Panic,
}

/// What the thread outside does.
#[derive(Clone, Debug)]
enum Action {
    Start(Vec<Step>),
    Resume(usize),
    Complete(usize),
    Cancel(usize),
    Abandon(usize),
    /// Outside a job: without effect.
    BlockAndPause,
}

/// A paused job as the model sees it.
struct Model {
    steps: Vec<Step>,
    next: usize,
    blocked: u32,
    /// It awaits an op that is not done.
    waiting: bool,
}

#[derive(Debug, PartialEq)]
enum Ran {
    Paused,
    Finished(i32),
    Panicked,
    NoJobs,
}

impl Model {
    fn new(steps: Vec<Step>) -> Self {
        Self {
            steps,
            next: 0,
            blocked: 0,
            waiting: false,
        }
    }

    /// Runs it up to its next pause or its end.
    fn run(&mut self) -> Ran {
        while let Some(step) = self.steps.get(self.next) {
            self.next += 1;
            match step {
                Step::Pause if self.blocked == 0 => return Ran::Paused,
                Step::Await if self.blocked == 0 => {
                    self.waiting = true;
                    return Ran::Paused;
                }
                Step::Pause | Step::Await => {}
                Step::Block => self.blocked += 1,
                Step::Unblock => self.blocked = self.blocked.saturating_sub(1),
                Step::Panic => return Ran::Panicked,
            }
        }
        Ran::Finished(self.steps.len() as i32)
    }
}

/// The same as [`Model::run`], as a job's function.
fn body(steps: &[Step]) -> i32 {
    for step in steps {
        match step {
            Step::Pause => {
                job::pause();
            }
            Step::Await => {
                if !job::pause_blocked() {
                    with_job(|job| job.await_token(1, 1));
                    job::pause();
                    with_job(Job::stop_awaiting);
                }
            }
            Step::Block => job::block_pause(),
            Step::Unblock => job::unblock_pause(),
            Step::Panic => std::panic::resume_unwind(Box::new("panic of the model")),
        }
    }
    steps.len() as i32
}

fn with_job(visit: impl FnOnce(&Job)) {
    visit(&job::current().unwrap());
}

fn catch(run: impl FnOnce() -> Result<Progress, ResumeError>) -> Ran {
    match std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)) {
        Err(_) => Ran::Panicked,
        Ok(Ok(Progress::Paused)) => Ran::Paused,
        Ok(Ok(Progress::Finished(result))) => Ran::Finished(result),
        Ok(Ok(Progress::NoJobs)) => Ran::NoJobs,
        Ok(Err(error)) => panic!("{error}"),
    }
}

fn start(steps: Vec<Step>) -> (Ran, Option<Rc<Job>>) {
    let handle = RefCell::new(None);
    let ran = catch(|| {
        let (progress, job) = job::start(None, move || body(&steps))?;
        *handle.borrow_mut() = job;
        Ok(progress)
    });
    (ran, handle.into_inner())
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => Just(Step::Pause),
        3 => Just(Step::Await),
        1 => Just(Step::Block),
        1 => Just(Step::Unblock),
        1 => Just(Step::Panic),
    ]
}

fn action() -> impl Strategy<Value = Action> {
    let which = 0..MAX_JOBS;
    prop_oneof![
        4 => prop::collection::vec(step(), 0..6).prop_map(Action::Start),
        6 => which.clone().prop_map(Action::Resume),
        3 => which.clone().prop_map(Action::Complete),
        1 => which.clone().prop_map(Action::Cancel),
        1 => which.prop_map(Action::Abandon),
        1 => Just(Action::BlockAndPause),
    ]
}

/// Does `action` to both and compares.
fn apply(paused: &mut Vec<(Rc<Job>, Model)>, action: Action) {
    let len = paused.len().max(1);
    let index = match &action {
        Action::Resume(n) | Action::Complete(n) | Action::Cancel(n) | Action::Abandon(n) => n % len,
        Action::Start(_) | Action::BlockAndPause => 0,
    };
    match (action, paused.get_mut(index)) {
        (Action::Start(steps), _) => {
            let mut model = Model::new(steps.clone());
            let expected = match paused.len() {
                MAX_JOBS => Ran::NoJobs,
                _ => model.run(),
            };
            let (ran, job) = start(steps);
            assert_eq!(ran, expected);
            assert_eq!(job.is_some(), ran == Ran::Paused);
            paused.extend(job.map(|job| (job, model)));
        }
        (Action::Resume(_), Some((job, model))) => {
            let expected = match model.waiting {
                true => Ran::Paused,
                false => model.run(),
            };
            assert_eq!(catch(|| job.resume()), expected);
            if expected != Ran::Paused {
                assert_eq!(job.resume().unwrap_err(), ResumeError::NotPaused);
                paused.remove(index);
            }
        }
        (Action::Complete(_), Some((job, model))) => {
            job.complete(true);
            model.waiting = false;
        }
        (Action::Cancel(_), Some((job, model))) => {
            job.cancel();
            assert!(job.is_cancelled());
            model.waiting = false;
        }
        (Action::Abandon(_), Some((job, _))) => {
            // SAFETY: nothing points into its stack; its frames own a vector, which leaks.
            unsafe { job.abandon() };
            paused.remove(index);
        }
        (Action::BlockAndPause, _) => {
            job::block_pause();
            job::pause();
            assert!(!job::pause_blocked());
        }
        (_, None) => {}
    }
}

/// What holds between any two actions.
fn check(paused: &[(Rc<Job>, Model)]) {
    let stats = pool_stats();
    assert_eq!(stats.stacks_in_use, paused.len());
    assert_eq!(stats.jobs - stats.idle_jobs, paused.len());
    assert!(stats.jobs <= MAX_JOBS && stats.idle_stacks <= MAX_JOBS);
    assert!(!job::on_job());
    for (job, model) in paused {
        assert!(job.is_paused());
        assert_eq!(job.awaited() != 0 && !job.is_complete(), model.waiting);
    }
}

proptest! {
    #[test]
    fn jobs_do_what_their_model_does(actions in prop::collection::vec(action(), 0..60)) {
        cleanup_thread();
        init_thread(MAX_JOBS, 0).unwrap();
        let mut paused = Vec::new();
        for action in actions {
            apply(&mut paused, action);
            check(&paused);
        }
        for (job, _) in paused {
            // SAFETY: as above.
            unsafe { job.abandon() };
        }
        check(&[]);
    }
}
