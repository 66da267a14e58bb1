//! What a worker does: one op in its session, and whatever it takes to have a session.

use std::collections::HashMap;
use std::marker::PhantomData;
use std::sync::Arc;

use cryptoki::error::{Error as Cryptoki, RvError};
use cryptoki::object::ObjectHandle;
use spinlane_crypto::{PublicKey, fork_generation};
use spinlane_cryptodev::KeyHandle;

use crate::counters::{Counters, count};
use crate::error::Failure;
use crate::key::TokenKey;
use crate::operation::{self, Bytes, Operation, Problem};
use crate::pool::{Backend, Job};
use crate::token::{OpenSession, Token};

/// An op's operands, copied.
pub(crate) struct Task {
    /// `None` for an op that was never prepared.
    pub(crate) key: Option<Arc<KeyHandle>>,
    pub(crate) operation: Operation,
    pub(crate) input: Bytes,
}

impl Task {
    /// The key, if it is one of this driver's.
    fn key(&self) -> Option<(&TokenKey, &PublicKey)> {
        let key = self.key.as_ref()?;
        Some((key.object()?, key.as_remote()?))
    }
}

/// A token as the workers' backend.
pub(crate) struct TokenBackend<J> {
    pub(crate) token: Token,
    generation: u64,
    jobs: PhantomData<fn() -> J>,
}

/// A worker's session, if it has one, and the objects that it has found.
#[derive(Default)]
pub(crate) struct Session {
    open: Option<OpenSession>,
    /// By the keys' numbers.
    handles: HashMap<u64, ObjectHandle>,
}

/// What an error means for the session, and whether the op may be run again.
enum Fate {
    /// The session is lost, or nobody knows.
    Reopen,
    /// The object's handle is stale.
    FindAgain,
    /// It was the op's fault.
    Refuse,
}

impl<J> TokenBackend<J> {
    pub(crate) fn new(token: Token) -> Self {
        Self {
            token,
            generation: fork_generation(),
            jobs: PhantomData,
        }
    }
}

impl<J: Job<Task = Task, Outcome = Bytes>> Backend for TokenBackend<J> {
    type Job = J;
    type Session = Session;

    fn session(&self) -> Session {
        Session::default()
    }

    fn serve(&self, session: &mut Session, task: Task) -> Result<Bytes, Failure> {
        let first = match self.attempt(session, &task) {
            Ok(result) => return Ok(result),
            Err(problem) => self.judge(session, &task, problem),
        };
        match first {
            Judged::Final(failure) => Err(failure),
            Judged::Again(_) => {
                count(&self.counters().retries);
                let again = self.attempt(session, &task);
                again.map_err(|problem| match self.judge(session, &task, problem) {
                    Judged::Final(failure) | Judged::Again(failure) => failure,
                })
            }
        }
    }

    fn is_forked(&self) -> bool {
        self.generation != fork_generation()
    }

    fn counters(&self) -> &Counters {
        &self.token.counters
    }
}

/// What becomes of an op that gave no result.
enum Judged {
    /// It ends so.
    Final(Failure),
    /// It is run once more, and ends so if that fails as well.
    Again(Failure),
}

impl<J: Job<Task = Task, Outcome = Bytes>> TokenBackend<J> {
    fn attempt(&self, session: &mut Session, task: &Task) -> Result<Bytes, Problem> {
        let open = match &session.open {
            Some(open) => open,
            None => {
                session.handles.clear();
                let open = self.token.session().map_err(Problem::Failure)?;
                session.open.insert(open)
            }
        };
        let (key, public) = task.key().ok_or(Problem::Failure(Failure::Unsupported))?;
        let handle = match session.handles.get(&key.number) {
            Some(handle) => *handle,
            None => {
                let found = key.handle(&open.session)?;
                let handle = found.ok_or(Problem::Failure(Failure::Key))?;
                session.handles.insert(key.number, handle);
                handle
            }
        };
        let verify = self.token.settings().verify;
        operation::run(
            &open.session,
            handle,
            key,
            public,
            task.operation,
            &task.input,
            verify,
        )
    }

    fn judge(&self, session: &mut Session, task: &Task, problem: Problem) -> Judged {
        let error = match problem {
            Problem::Failure(Failure::Wrong) => {
                count(&self.counters().wrong_results);
                return Judged::Again(Failure::Wrong);
            }
            // The token may have been exchanged for another.
            Problem::Failure(Failure::Key) => {
                session.open = None;
                return Judged::Final(Failure::Key);
            }
            Problem::Failure(failure) => return Judged::Final(failure),
            Problem::Module(error) => error,
        };
        let value = match error {
            Cryptoki::Pkcs11(value, _) => value,
            _ => RvError::GeneralError,
        };
        match fate(value) {
            Fate::Reopen => {
                if session.open.take().is_some() {
                    count(&self.counters().sessions_lost);
                }
                session.handles.clear();
                Judged::Again(lost(value))
            }
            Fate::FindAgain => {
                if let Some((key, _)) = task.key() {
                    session.handles.remove(&key.number);
                }
                Judged::Again(Failure::Key)
            }
            Fate::Refuse => Judged::Final(Failure::Refused(value)),
        }
    }
}

fn fate(value: RvError) -> Fate {
    use RvError::*;
    match value {
        KeyHandleInvalid | ObjectHandleInvalid => Fate::FindAgain,
        DataInvalid
        | DataLenRange
        | EncryptedDataInvalid
        | EncryptedDataLenRange
        | KeyFunctionNotPermitted
        | KeySizeRange
        | KeyTypeInconsistent
        | MechanismInvalid
        | MechanismParamInvalid
        | FunctionNotSupported => Fate::Refuse,
        _ => Fate::Reopen,
    }
}

/// What an op is told whose session was lost twice.
fn lost(value: RvError) -> Failure {
    use RvError::*;
    match value {
        SessionHandleInvalid | SessionClosed | UserNotLoggedIn => Failure::Session,
        TokenNotPresent | TokenNotRecognized | DeviceRemoved | SlotIdInvalid => Failure::Token,
        other => Failure::Module(other),
    }
}
