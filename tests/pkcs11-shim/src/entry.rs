//! The entry points that differ from the inner module's.

use std::ffi::c_void;
use std::slice;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use cryptoki_sys::{
    CK_BBOOL, CK_BYTE, CK_FLAGS, CK_FUNCTION_LIST, CK_MECHANISM, CK_MECHANISM_TYPE, CK_NOTIFY,
    CK_OBJECT_HANDLE, CK_RV, CK_SESSION_HANDLE, CK_SLOT_ID, CK_TOKEN_INFO, CK_ULONG, CK_USER_TYPE,
    CKM_ECDSA, CKM_RSA_X_509, CKR_ARGUMENTS_BAD, CKR_BUFFER_TOO_SMALL, CKR_DEVICE_REMOVED,
    CKR_FUNCTION_NOT_SUPPORTED, CKR_MECHANISM_INVALID, CKR_OK, CKR_OPERATION_NOT_INITIALIZED,
    CKR_TOKEN_NOT_PRESENT,
};

use crate::control::{Counter, Knob};
use crate::inner::{State, guard, state};

/// Calls a function of the inner module.
macro_rules! forward {
    ($state:expr, $function:ident($($argument:expr),*)) => {
        match $state.inner.$function {
            // SAFETY: the caller's own arguments, for which it answers as PKCS #11 says.
            Some(function) => unsafe { function($($argument),*) },
            None => CKR_FUNCTION_NOT_SUPPORTED,
        }
    };
}

/// The inner module's list with this module's entry points in it.
pub(crate) fn list(inner: &CK_FUNCTION_LIST) -> CK_FUNCTION_LIST {
    CK_FUNCTION_LIST {
        C_Initialize: Some(initialize),
        C_GetFunctionList: Some(C_GetFunctionList),
        C_GetSlotList: Some(get_slot_list),
        C_GetTokenInfo: Some(get_token_info),
        C_GetMechanismList: Some(get_mechanism_list),
        C_OpenSession: Some(open_session),
        C_CloseSession: Some(close_session),
        C_Login: Some(login),
        C_FindObjectsInit: Some(find_objects_init),
        C_SignInit: Some(sign_init),
        C_Sign: Some(sign),
        C_DecryptInit: Some(decrypt_init),
        C_Decrypt: Some(decrypt),
        ..*inner
    }
}

/// PKCS #11 v2.40, section 5.4: the one symbol by which all functions are found.
///
/// # Safety
/// `list` is null or valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn C_GetFunctionList(list: *mut *mut CK_FUNCTION_LIST) -> CK_RV {
    guard(|state| {
        if list.is_null() {
            return CKR_ARGUMENTS_BAD;
        }
        // SAFETY: as the caller promises. Nobody writes to the list through the pointer.
        unsafe { list.write((&raw const state.ours).cast_mut()) };
        CKR_OK
    })
}

unsafe extern "C" fn initialize(arguments: *mut c_void) -> CK_RV {
    guard(|state| {
        let rv = forward!(state, C_Initialize(arguments));
        if rv == CKR_OK {
            state.words.add(Counter::Initialised);
            state.words.knob(Knob::Deaf).store(0, Ordering::SeqCst);
        }
        rv
    })
}

unsafe extern "C" fn get_slot_list(
    with_token: CK_BBOOL,
    slots: *mut CK_SLOT_ID,
    count: *mut CK_ULONG,
) -> CK_RV {
    guard(|state| {
        if state.is_present() || with_token == 0 {
            return forward!(state, C_GetSlotList(with_token, slots, count));
        }
        if count.is_null() {
            return CKR_ARGUMENTS_BAD;
        }
        // SAFETY: valid for a write, as PKCS #11 says.
        unsafe { *count = 0 };
        CKR_OK
    })
}

/// What comes back while the token is away; otherwise what `body` returns, during which no session is
/// closed.
fn with_token(away: CK_RV, body: impl FnOnce(&State) -> CK_RV) -> CK_RV {
    guard(|state| {
        if !state.is_present() {
            return away;
        }
        let _using = state.using.read().unwrap_or_else(PoisonError::into_inner);
        body(state)
    })
}

unsafe extern "C" fn get_token_info(slot: CK_SLOT_ID, info: *mut CK_TOKEN_INFO) -> CK_RV {
    with_token(CKR_TOKEN_NOT_PRESENT, |state| {
        let rv = forward!(state, C_GetTokenInfo(slot, info));
        // SAFETY: null, or valid for a write as PKCS #11 says.
        if let (CKR_OK, Some(info)) = (rv, unsafe { info.as_mut() }) {
            info.flags |= state.words.get(Knob::TokenFlags);
        }
        rv
    })
}

unsafe extern "C" fn get_mechanism_list(
    slot: CK_SLOT_ID,
    mechanisms: *mut CK_MECHANISM_TYPE,
    count: *mut CK_ULONG,
) -> CK_RV {
    with_token(CKR_TOKEN_NOT_PRESENT, |state| {
        let rv = forward!(state, C_GetMechanismList(slot, mechanisms, count));
        if rv != CKR_OK || mechanisms.is_null() {
            return rv;
        }
        // SAFETY: the inner module has written so many.
        let list = unsafe { slice::from_raw_parts_mut(mechanisms, *count as usize) };
        let mut kept = 0;
        for index in 0..list.len() {
            if !state.hides(list[index]) {
                list[kept] = list[index];
                kept += 1;
            }
        }
        // SAFETY: valid for a write, since the inner module has written to it.
        unsafe { *count = kept as CK_ULONG };
        CKR_OK
    })
}

unsafe extern "C" fn open_session(
    slot: CK_SLOT_ID,
    flags: CK_FLAGS,
    application: *mut c_void,
    notify: CK_NOTIFY,
    session: *mut CK_SESSION_HANDLE,
) -> CK_RV {
    with_token(CKR_TOKEN_NOT_PRESENT, |state| {
        let rv = forward!(
            state,
            C_OpenSession(slot, flags, application, notify, session)
        );
        if rv == CKR_OK {
            state.words.add(Counter::Opened);
        }
        rv
    })
}

unsafe extern "C" fn close_session(session: CK_SESSION_HANDLE) -> CK_RV {
    with_token(CKR_DEVICE_REMOVED, |state| {
        let rv = forward!(state, C_CloseSession(session));
        if rv == CKR_OK {
            state.words.add(Counter::Closed);
        }
        rv
    })
}

unsafe extern "C" fn login(
    session: CK_SESSION_HANDLE,
    user: CK_USER_TYPE,
    pin: *mut CK_BYTE,
    len: CK_ULONG,
) -> CK_RV {
    with_token(CKR_DEVICE_REMOVED, |state| {
        state.words.add(Counter::Logins);
        forward!(state, C_Login(session, user, pin, len))
    })
}

unsafe extern "C" fn find_objects_init(
    session: CK_SESSION_HANDLE,
    template: *mut cryptoki_sys::CK_ATTRIBUTE,
    count: CK_ULONG,
) -> CK_RV {
    with_token(CKR_DEVICE_REMOVED, |state| {
        forward!(state, C_FindObjectsInit(session, template, count))
    })
}

/// Whether the mechanism is hidden.
fn is_hidden(state: &State, mechanism: *mut CK_MECHANISM) -> bool {
    // SAFETY: null, or valid for reads as PKCS #11 says.
    unsafe { mechanism.as_ref() }.is_some_and(|mechanism| state.hides(mechanism.mechanism))
}

unsafe extern "C" fn sign_init(
    session: CK_SESSION_HANDLE,
    mechanism: *mut CK_MECHANISM,
    key: CK_OBJECT_HANDLE,
) -> CK_RV {
    with_token(CKR_DEVICE_REMOVED, |state| {
        if is_hidden(state, mechanism) {
            return CKR_MECHANISM_INVALID;
        }
        // SAFETY: null, or valid for reads as PKCS #11 says.
        let kind = unsafe { mechanism.as_ref() }.map(|mechanism| mechanism.mechanism);
        let card = state.card.as_ref();
        if let (Some(card), Some(CKM_ECDSA | CKM_RSA_X_509)) = (card, kind)
            && card.begin(state, session, key)
        {
            return CKR_OK;
        }
        forward!(state, C_SignInit(session, mechanism, key))
    })
}

unsafe extern "C" fn decrypt_init(
    session: CK_SESSION_HANDLE,
    mechanism: *mut CK_MECHANISM,
    key: CK_OBJECT_HANDLE,
) -> CK_RV {
    with_token(CKR_DEVICE_REMOVED, |state| {
        if is_hidden(state, mechanism) {
            return CKR_MECHANISM_INVALID;
        }
        forward!(state, C_DecryptInit(session, mechanism, key))
    })
}

/// Runs `call`, which writes its result to `result`; if that is null, it only asks how long the result will be.
///
/// # Safety
/// `result` is null, or points to what a buffer of the caller's begins with.
unsafe fn run(
    session: CK_SESSION_HANDLE,
    result: *mut CK_BYTE,
    call: impl FnOnce(&State) -> CK_RV,
) -> CK_RV {
    if result.is_null() {
        return with_token(CKR_DEVICE_REMOVED, call);
    }
    guard(|state| {
        state.operation(
            session,
            || call(state),
            // SAFETY: not null, and long enough for what CKR_OK says was written. A plain text without
            // bytes leaves a byte of the caller's buffer to flip.
            || unsafe { result.as_mut() },
        )
    })
}

unsafe extern "C" fn sign(
    session: CK_SESSION_HANDLE,
    data: *mut CK_BYTE,
    data_len: CK_ULONG,
    signature: *mut CK_BYTE,
    signature_len: *mut CK_ULONG,
) -> CK_RV {
    let card = state().and_then(|state| state.card.as_ref());
    if let Some((card, len)) = card.and_then(|card| Some((card, card.signature_len(session)?))) {
        // SAFETY: PKCS #11 says so: data and length are valid for reads, the length for writes.
        let (data, room) = unsafe {
            let room = std::mem::replace(&mut *signature_len, len as CK_ULONG);
            (slice::from_raw_parts(data, data_len as usize), room)
        };
        if signature.is_null() {
            return CKR_OK;
        }
        if (room as usize) < len {
            return CKR_BUFFER_TOO_SMALL;
        }
        let Some(answer) = card.sign(session, data) else {
            return CKR_OPERATION_NOT_INITIALIZED;
        };
        // SAFETY: the caller's buffer, as long as it said.
        let call =
            |_: &State| answer.write_to(unsafe { slice::from_raw_parts_mut(signature, len) });
        // SAFETY: as above.
        return unsafe { run(session, signature, call) };
    }
    let call = |state: &State| {
        forward!(
            state,
            C_Sign(session, data, data_len, signature, signature_len)
        )
    };
    // SAFETY: PKCS #11 says so of a signature's buffer.
    unsafe { run(session, signature, call) }
}

unsafe extern "C" fn decrypt(
    session: CK_SESSION_HANDLE,
    cipher: *mut CK_BYTE,
    cipher_len: CK_ULONG,
    plain: *mut CK_BYTE,
    plain_len: *mut CK_ULONG,
) -> CK_RV {
    let call = |state: &State| {
        forward!(
            state,
            C_Decrypt(session, cipher, cipher_len, plain, plain_len)
        )
    };
    // SAFETY: PKCS #11 says so of a plain text's buffer.
    unsafe { run(session, plain, call) }
}
