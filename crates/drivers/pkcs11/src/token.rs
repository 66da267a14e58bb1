//! A token: the slot that it is in, whether the user is logged in, sessions.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use cryptoki::context::Pkcs11;
use cryptoki::error::{Error as Cryptoki, RvError};
use cryptoki::session::{Session, SessionState, UserType};
use cryptoki::slot::{Slot, TokenInfo};
use cryptoki::types::RawAuthPin;

use crate::counters::{Counters, count};
use crate::error::{Error, Failure, describe};
use crate::module::{Module, User};
use crate::pin::{Pin, PinSource};
use crate::settings::Settings;
use crate::uri::{Attribute, Uri};

/// How long a thread waits for another that is opening a session.
const TURN: Duration = Duration::from_secs(1);

/// A token and the login on it, which PKCS#11 shares among all sessions of a process.
pub(crate) struct Token {
    number: u64,
    module: Arc<Module>,
    wanted: Uri,
    pin: Option<PinSource>,
    settings: Settings,
    state: Mutex<State>,
    turn: Condvar,
    pub(crate) counters: Counters,
}

#[derive(Default)]
struct State {
    /// A thread is opening a session, without the lock.
    opening: bool,
    /// Where the token was last.
    slot: Option<Slot>,
    /// Its label when it was seen last, for messages.
    label: String,
    /// The PIN that was refused: not tried again.
    refused: Option<Pin>,
    /// Since when it has been away, and when it is asked again.
    away: Option<Away>,
}

#[derive(Clone, Copy)]
struct Away {
    since: Instant,
    ask_at: Instant,
    restart_at: Instant,
    failure: Failure,
}

/// A session, closed when it goes. Belongs to one thread.
pub(crate) struct OpenSession {
    pub(crate) session: Session,
    pub(crate) slot: Slot,
    // After the session: closing it calls the module.
    user: User,
}

impl OpenSession {
    pub(crate) fn user(&self) -> &User {
        &self.user
    }
}

impl Token {
    /// The token that `uri` names, in the module that it names. Nothing is asked of the token yet.
    pub(crate) fn new(uri: &Uri, settings: Settings) -> Result<Self, Error> {
        static NUMBERS: AtomicU64 = AtomicU64::new(0);
        Ok(Self {
            number: NUMBERS.fetch_add(1, Ordering::Relaxed),
            module: Module::of(uri)?,
            wanted: uri.clone(),
            pin: PinSource::of(uri),
            settings,
            state: Mutex::default(),
            turn: Condvar::new(),
            counters: Counters::default(),
        })
    }

    /// Tells it from the other tokens of this process.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Its label, or what was asked for as long as it has not been seen.
    pub(crate) fn label(&self) -> String {
        let label = self.state().label.clone();
        match label.as_str() {
            "" => self.wanted.to_string(),
            _ => label,
        }
    }

    /// The PIN may be tried again: somebody has seen to it.
    pub(crate) fn retry_pin(&self) {
        let state = self.state();
        let state = self.turn.wait_while(state, |state| state.opening);
        let mut state = state.unwrap_or_else(PoisonError::into_inner);
        state.refused = None;
        state.away = None;
    }

    /// A session with the user logged in, for a worker: a token that is away is asked again from time to
    /// time, and fails at once meanwhile.
    pub(crate) fn session(&self) -> Result<OpenSession, Failure> {
        let opened = self.in_turn(|state| {
            if let Some(away) = state.away.filter(|away| Instant::now() < away.ask_at) {
                return Err(Error::Away {
                    token: state.label.clone(),
                    reason: away.failure,
                });
            }
            let opened = self.open(state);
            match &opened {
                Ok(_) => {
                    if let Some(away) = state.away.take() {
                        let label = &state.label;
                        let seconds = away.since.elapsed().as_secs_f32();
                        tracing::info!("token {label:?} is back after {seconds:.1} s");
                    }
                }
                Err(error) => self.note_away(state, error),
            }
            opened
        });
        opened.map_err(|error| failure(&error))
    }

    /// The same at the start, with the whole reason.
    pub(crate) fn first_session(&self) -> Result<OpenSession, Error> {
        self.in_turn(|state| self.open(state))
    }

    /// Runs `open`, one thread at a time. The lock is not held while it runs, so that a module that does not
    /// return keeps nobody longer than [`TURN`].
    fn in_turn(
        &self,
        open: impl FnOnce(&mut State) -> Result<OpenSession, Error>,
    ) -> Result<OpenSession, Error> {
        let state = self.state();
        let free = |state: &mut State| state.opening;
        let waited = self.turn.wait_timeout_while(state, TURN, free);
        let (mut state, waited) = waited.unwrap_or_else(PoisonError::into_inner);
        if waited.timed_out() {
            return Err(Error::Away {
                token: state.label.clone(),
                reason: Failure::Token,
            });
        }
        let mut own = std::mem::take(&mut *state);
        state.opening = true;
        state.label.clone_from(&own.label);
        drop(state);
        // Whatever happens, the turn passes on.
        let opened = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| open(&mut own)));
        *self.state() = own;
        self.turn.notify_one();
        opened.unwrap_or_else(|_| {
            count(&self.counters.panics);
            Err(Error::Away {
                token: self.label(),
                reason: Failure::Panicked,
            })
        })
    }

    fn note_away(&self, state: &mut State, error: &Error) {
        let now = Instant::now();
        let ask_at = now + self.settings.ask_again_after;
        let failure = failure(error);
        if state.away.is_none() {
            tracing::warn!("{error}");
            count(&self.counters.token_away);
        }
        let away = state.away.get_or_insert(Away {
            since: now,
            ask_at,
            restart_at: now + self.settings.restart_module_after,
            failure,
        });
        (away.ask_at, away.failure) = (ask_at, failure);
    }

    fn open(&self, state: &mut State) -> Result<OpenSession, Error> {
        let user = self.module.enter();
        if let Some(slot) = state.slot
            && let Ok(session) = user.pkcs11().open_ro_session(slot)
        {
            return self.logged_in(state, session, slot, user);
        }
        // The first time, or it has been moved to another slot.
        state.slot = None;
        self.maybe_restart(state, &user)?;
        let (slot, info) = self.find(&user)?;
        state.label = info.label().to_owned();
        let session = user.pkcs11().open_ro_session(slot);
        let session = session.map_err(|error| self.failed(state, &error))?;
        state.slot = Some(slot);
        self.logged_in(state, session, slot, user)
    }

    fn logged_in(
        &self,
        state: &mut State,
        session: Session,
        slot: Slot,
        user: User,
    ) -> Result<OpenSession, Error> {
        let session = OpenSession {
            session,
            slot,
            user,
        };
        count(&self.counters.sessions_opened);
        let logged_in = self.log_in(state, &session);
        if matches!(logged_in, Err(Error::Token { .. })) {
            // Perhaps another token is in that slot by now.
            state.slot = None;
        }
        logged_in.map(|()| session)
    }

    /// Finalises the module and initialises it again if the token has been away for long.
    fn maybe_restart(&self, state: &mut State, user: &User) -> Result<(), Error> {
        let after = self.settings.restart_module_after;
        let Some(away) = &mut state.away else {
            return Ok(());
        };
        if Instant::now() < away.restart_at {
            return Ok(());
        }
        away.restart_at = Instant::now() + after;
        let restarted = user.module().restart(user);
        if restarted.map_err(|error| self.failed(state, &error))? {
            count(&self.counters.module_restarts);
        }
        Ok(())
    }

    /// The slot of the one token that fits.
    fn find(&self, user: &User) -> Result<(Slot, TokenInfo), Error> {
        let pkcs11 = user.pkcs11();
        let failed = |error: Cryptoki| Error::Token {
            token: self.wanted.to_string(),
            reason: describe(&error),
        };
        let slots = pkcs11.get_slots_with_token().map_err(failed)?;
        let tokens: Vec<_> = slots
            .into_iter()
            // A token may have gone since.
            .filter_map(|slot| Some((slot, pkcs11.get_token_info(slot).ok()?)))
            .filter(|(_, info)| info.token_initialized())
            .collect();
        let library = fits_library(&self.wanted, pkcs11);
        let fit = |(slot, info): &&(Slot, TokenInfo)| {
            library && fits(&self.wanted, *slot, info) && fits_slot(&self.wanted, pkcs11, *slot)
        };
        let mut fitting = tokens.iter().filter(fit);
        match (fitting.next(), fitting.next()) {
            (Some((slot, info)), None) => Ok((*slot, info.clone())),
            (None, _) => Err(Error::NoToken {
                wanted: self.wanted.clone(),
                found: list(tokens.iter()),
            }),
            (Some(_), Some(_)) => Err(Error::SeveralTokens {
                wanted: self.wanted.clone(),
                found: list(tokens.iter().filter(fit)),
            }),
        }
    }

    /// Logs the user in, unless another session has.
    fn log_in(&self, state: &mut State, open: &OpenSession) -> Result<(), Error> {
        let OpenSession { session, slot, .. } = open;
        let failed = |error: Cryptoki| self.failed(state, &error);
        let now = session.get_session_info().map_err(failed)?.session_state();
        if matches!(now, SessionState::RoUser | SessionState::RwUser) {
            return Ok(());
        }
        let info = open.user().pkcs11().get_token_info(*slot);
        let info = info.map_err(|error| self.failed(state, &error))?;
        let token = || info.label().to_owned();
        if info.user_pin_locked() {
            let reason = "the PIN is locked; have the security officer set a new one".to_owned();
            return Err(Error::PinRefused {
                token: token(),
                reason,
            });
        }
        if info.user_pin_final_try() && !info.protected_authentication_path() {
            return Err(Error::LastTry { token: token() });
        }
        let pin = match &self.pin {
            Some(source) => Some(source.read()?),
            None if !info.login_required() => return Ok(()),
            None if info.protected_authentication_path() => None,
            None => return Err(Error::NoPin { token: token() }),
        };
        if pin.is_some() && pin == state.refused {
            return Err(Error::PinRefused {
                token: token(),
                reason: "it was refused before".to_owned(),
            });
        }
        let logged_in = match &pin {
            Some(pin) => {
                let pin = RawAuthPin::new(Box::new(pin.bytes().to_vec()));
                session.login_with_raw(UserType::User, &pin)
            }
            None => session.login(UserType::User, None),
        };
        match logged_in {
            Ok(()) => count(&self.counters.logins),
            Err(Cryptoki::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => {}
            Err(Cryptoki::Pkcs11(value, _)) if is_about_the_pin(value) => {
                count(&self.counters.pins_refused);
                state.refused = pin;
                return Err(Error::PinRefused {
                    token: token(),
                    reason: format!("{value:?}"),
                });
            }
            Err(error) => return Err(self.failed(state, &error)),
        }
        state.refused = None;
        Ok(())
    }

    fn failed(&self, state: &State, error: &Cryptoki) -> Error {
        let token = match state.label.as_str() {
            "" => self.wanted.to_string(),
            label => label.to_owned(),
        };
        Error::Token {
            token,
            reason: describe(error),
        }
    }

    /// What is under the lock is whole at all times, so poison means nothing.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What an op is told.
fn failure(error: &Error) -> Failure {
    match error {
        Error::Away { reason, .. } => *reason,
        Error::PinRefused { .. } | Error::LastTry { .. } | Error::NoPin { .. } | Error::Pin(_) => {
            Failure::Pin
        }
        _ => Failure::Token,
    }
}

fn is_about_the_pin(value: RvError) -> bool {
    use RvError::*;
    let refused = [PinIncorrect, PinInvalid, PinLenRange, PinExpired, PinLocked];
    refused.contains(&value)
}

/// Whether `attribute` of `wanted` is `value` (RFC 7512, section 2.5: every attribute given must fit).
fn same(wanted: &Uri, attribute: Attribute, value: &str) -> bool {
    wanted.text(attribute).is_none_or(|text| text == value)
}

/// Whether the module is the one that `wanted` describes. It is asked only if that matters.
fn fits_library(wanted: &Uri, pkcs11: &Pkcs11) -> bool {
    use Attribute::{LibraryDescription, LibraryManufacturer, LibraryVersion};
    let described = [LibraryDescription, LibraryManufacturer, LibraryVersion];
    let mut described = described.into_iter();
    if !described.any(|attribute| wanted.text(attribute).is_some()) {
        return true;
    }
    pkcs11.get_library_info().is_ok_and(|info| {
        same(wanted, LibraryDescription, info.library_description())
            && same(wanted, LibraryManufacturer, info.manufacturer_id())
            && same(wanted, LibraryVersion, &info.library_version().to_string())
    })
}

/// Whether the slot is the one that `wanted` describes.
fn fits_slot(wanted: &Uri, pkcs11: &Pkcs11, slot: Slot) -> bool {
    use Attribute::{SlotDescription, SlotManufacturer};
    if [SlotDescription, SlotManufacturer].map(|attribute| wanted.text(attribute)) == [None; 2] {
        return true;
    }
    pkcs11.get_slot_info(slot).is_ok_and(|info| {
        same(wanted, SlotDescription, info.slot_description())
            && same(wanted, SlotManufacturer, info.manufacturer_id())
    })
}

/// Whether the token is the one that `wanted` names.
fn fits(wanted: &Uri, slot: Slot, info: &TokenInfo) -> bool {
    let same = |attribute, value: &str| same(wanted, attribute, value);
    same(Attribute::Token, info.label())
        && same(Attribute::Manufacturer, info.manufacturer_id())
        && same(Attribute::Model, info.model())
        && same(Attribute::Serial, info.serial_number())
        && wanted.slot_id().is_none_or(|id| id == slot.id())
}

/// The tokens as URIs, which can be copied from the message.
fn list<'a>(tokens: impl Iterator<Item = &'a (Slot, TokenInfo)>) -> String {
    let uris: Vec<_> = tokens
        .map(|(slot, info)| {
            let mut uri = Uri::default();
            let values = [
                (Attribute::Token, info.label()),
                (Attribute::Serial, info.serial_number()),
                (Attribute::SlotId, &slot.id().to_string()),
            ];
            for (attribute, value) in values {
                // A text without zeros is one that these may have.
                let _ = uri.set(attribute, value.as_bytes());
            }
            uri.to_string()
        })
        .collect();
    match uris.is_empty() {
        true => "none that is initialised".to_owned(),
        false => uris.join(", "),
    }
}
