//! The faults themselves.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use cryptoki_sys::{
    CK_MECHANISM_TYPE, CK_RV, CK_SESSION_HANDLE, CKM_ECDSA, CKM_EDDSA, CKM_RSA_PKCS,
    CKM_RSA_PKCS_PSS, CKM_RSA_X_509, CKR_DEVICE_ERROR, CKR_DEVICE_REMOVED, CKR_OK,
    CKR_SESSION_HANDLE_INVALID,
};

use crate::control::{Control, Counter, Knob};
use crate::inner::State;

const HIDEABLE: [(CK_MECHANISM_TYPE, u64); 5] = [
    (CKM_RSA_X_509, Control::HIDE_RSA_RAW),
    (CKM_RSA_PKCS, Control::HIDE_RSA_PKCS),
    (CKM_RSA_PKCS_PSS, Control::HIDE_RSA_PSS),
    (CKM_ECDSA, Control::HIDE_ECDSA),
    (CKM_EDDSA, Control::HIDE_EDDSA),
];

impl State {
    /// Whether the token is in its slot. Closes its sessions when it is first seen to be away.
    pub(crate) fn is_present(&self) -> bool {
        let away = self.words.get(Knob::Absent) != 0 || self.words.get(Knob::Deaf) != 0;
        if away && !self.removed.swap(true, Ordering::SeqCst) {
            self.close_all();
        }
        if !away {
            self.removed.store(false, Ordering::SeqCst);
        }
        !away
    }

    fn close_all(&self) {
        let _alone = self.using.write().unwrap_or_else(PoisonError::into_inner);
        let (Some(slots), Some(close)) = (self.inner.C_GetSlotList, self.inner.C_CloseAllSessions)
        else {
            return;
        };
        let mut list = [0; 64];
        let mut count = list.len() as u64;
        // SAFETY: the list is as long as `count` says.
        if unsafe { slots(1, list.as_mut_ptr(), &mut count) } == CKR_OK {
            for slot in list.iter().take(count as usize) {
                // SAFETY: any slot may be named; nobody uses a session meanwhile.
                unsafe { close(*slot) };
            }
        }
    }

    /// Whether the token does without this mechanism.
    pub(crate) fn hides(&self, mechanism: CK_MECHANISM_TYPE) -> bool {
        let hidden = self.words.get(Knob::Hide);
        HIDEABLE
            .iter()
            .any(|(known, bit)| *known == mechanism && hidden & bit != 0)
    }

    /// Runs `operation`, a signature or a decryption in `session`, with what is set to go wrong.
    /// `result` is its output.
    pub(crate) fn operation(
        &self,
        session: CK_SESSION_HANDLE,
        operation: impl FnOnce() -> CK_RV,
        result: impl FnOnce() -> Option<&'static mut u8>,
    ) -> CK_RV {
        let number = self.words.add(Counter::Operations);
        self.hang();
        let latency = self.words.get(Knob::LatencyUs);
        if latency != 0 {
            thread::sleep(Duration::from_micros(latency));
        }
        if !self.is_present() {
            return CKR_DEVICE_REMOVED;
        }
        let _using = self.using.read().unwrap_or_else(PoisonError::into_inner);
        let due = |knob| {
            let every = self.words.get(knob);
            every != 0 && number.is_multiple_of(every)
        };
        if due(Knob::LoseEvery) {
            if let Some(close) = self.inner.C_CloseSession {
                // SAFETY: this thread is the session's only user.
                unsafe { close(session) };
            }
            self.words.add(Counter::Closed);
            self.words.add(Counter::Lost);
            return CKR_SESSION_HANDLE_INVALID;
        }
        if due(Knob::ErrorEvery) {
            return CKR_DEVICE_ERROR;
        }
        let rv = operation();
        if rv == CKR_OK {
            self.words.add(Counter::Succeeded);
            if due(Knob::WrongEvery)
                && let Some(byte) = result()
            {
                *byte ^= 1;
            }
        }
        rv
    }

    /// Does not return before it is let go, if a call is to hang.
    fn hang(&self) {
        let release = self.words.get(Knob::Release);
        let take = |left: u64| left.checked_sub(1);
        let hang = self.words.knob(Knob::Hang);
        let hangs = hang.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take);
        if hangs.is_err() {
            return;
        }
        self.words.add(Counter::Hanging);
        while self.words.get(Knob::Release) == release {
            thread::sleep(Duration::from_millis(1));
        }
        self.words.subtract(Counter::Hanging);
    }
}
