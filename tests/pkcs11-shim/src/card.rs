//! Arithmetic that takes next to none of this machine's time, as a token's own does not: RSA-2048 and P-256
//! signatures are computed eight at a time in AVX-512 lanes, in place of the inner module's.
//!
//! Switched on by PKCS11_SHIM_CARD, the folder in which a private key is as LABEL.key: PKCS#1 in DER, or the
//! scalar. All else, sessions, logins and objects, remains the inner module's.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

use cryptoki_sys::{
    CK_ATTRIBUTE, CK_OBJECT_HANDLE, CK_RV, CK_SESSION_HANDLE, CKA_LABEL, CKR_DATA_LEN_RANGE,
    CKR_DEVICE_ERROR, CKR_OK,
};
use spinlane_crypto::{EcP256Key, Key, test_keys};
use spinlane_cryptodev::{
    Burst, Device as _, KeyHandle, Op, OpStatus, QueuePair, QueuePairConfig, Request, Token,
};
use spinlane_driver_mb::MbDevice;

use crate::inner::State;

/// How long the lanes wait for company: with an op each 250 us that is a batch.
const GATHER: Duration = Duration::from_millis(2);

pub(crate) struct Card {
    folder: PathBuf,
    /// By object handle; `None` for one that has no file.
    keys: Mutex<HashMap<CK_OBJECT_HANDLE, Option<Arc<KeyHandle>>>>,
    /// By the session that signs.
    begun: Mutex<HashMap<CK_SESSION_HANDLE, Arc<KeyHandle>>>,
    lanes: OnceLock<Arc<Lanes>>,
}

/// What waits for the lanes.
#[derive(Default)]
struct Lanes {
    asked: Mutex<Vec<Asked>>,
    bell: Condvar,
}

struct Asked {
    key: Arc<KeyHandle>,
    input: Vec<u8>,
    answer: Arc<Answer>,
}

/// A signature to come; empty if there will be none.
#[derive(Default)]
pub(crate) struct Answer {
    signature: Mutex<Option<Vec<u8>>>,
    bell: Condvar,
}

impl Card {
    pub(crate) fn new(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            keys: Mutex::default(),
            begun: Mutex::default(),
            lanes: OnceLock::new(),
        }
    }

    /// Begins a signature in `session`, if the key is one of this card's.
    pub(crate) fn begin(
        &self,
        state: &State,
        session: CK_SESSION_HANDLE,
        object: CK_OBJECT_HANDLE,
    ) -> bool {
        let known = lock(&self.keys).get(&object).cloned();
        let key = known.unwrap_or_else(|| {
            let key = label(state, session, object).and_then(|label| self.read(&label));
            lock(&self.keys).insert(object, key.clone());
            key
        });
        let Some(key) = key else {
            return false;
        };
        lock(&self.begun).insert(session, key);
        true
    }

    fn read(&self, label: &str) -> Option<Arc<KeyHandle>> {
        let bytes = std::fs::read(self.folder.join(format!("{label}.key"))).ok()?;
        Some(KeyHandle::local(match bytes.len() {
            32 => Key::EcP256(EcP256Key::from_scalar(&bytes).ok()?),
            _ => test_keys::rsa(&bytes),
        }))
    }

    /// Length of the signature that is begun in `session`; `None` if it is not this card's.
    pub(crate) fn signature_len(&self, session: CK_SESSION_HANDLE) -> Option<usize> {
        let begun = lock(&self.begun);
        Some(begun.get(&session)?.modulus().map_or(64, <[u8]>::len))
    }

    /// Starts to compute the signature that is begun in `session`.
    pub(crate) fn sign(&self, session: CK_SESSION_HANDLE, input: &[u8]) -> Option<Arc<Answer>> {
        let key = lock(&self.begun).remove(&session)?;
        let answer = Arc::new(Answer::default());
        let lanes = self.lanes.get_or_init(Lanes::start);
        lock(&lanes.asked).push(Asked {
            key,
            input: input.to_vec(),
            answer: Arc::clone(&answer),
        });
        lanes.bell.notify_one();
        Some(answer)
    }
}

impl Answer {
    /// Waits for the signature and writes it to `out`.
    pub(crate) fn write_to(&self, out: &mut [u8]) -> CK_RV {
        let waits = |signature: &mut Option<Vec<u8>>| signature.is_none();
        let answer = self.bell.wait_while(lock(&self.signature), waits);
        match &*answer.unwrap_or_else(PoisonError::into_inner) {
            Some(signature) if signature.len() == out.len() => {
                out.copy_from_slice(signature);
                CKR_OK
            }
            Some(signature) if signature.is_empty() => CKR_DEVICE_ERROR,
            _ => CKR_DATA_LEN_RANGE,
        }
    }

    fn give(&self, signature: Vec<u8>) {
        *lock(&self.signature) = Some(signature);
        self.bell.notify_one();
    }
}

impl Lanes {
    fn start() -> Arc<Self> {
        let lanes = Arc::new(Self::default());
        let theirs = Arc::clone(&lanes);
        thread::spawn(move || theirs.run());
        lanes
    }

    fn run(&self) {
        // A card waits for no scheduler: as far as this process may say so, the thread goes first.
        // SAFETY: no memory is involved; it is this thread's own priority (Linux: threads have their own).
        unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, -20) };
        let queue_pair = MbDevice::new().and_then(|device| {
            let config = QueuePairConfig::default();
            device.queue_pair(config)
        });
        let mut queue_pair = queue_pair.expect("PKCS11_SHIM_CARD needs the device mb");
        loop {
            let asked = self
                .bell
                .wait_while(lock(&self.asked), |all| all.is_empty());
            drop(asked);
            thread::sleep(GATHER);
            let all = std::mem::take(&mut *lock(&self.asked));
            compute(&mut *queue_pair, all);
        }
    }
}

fn compute(queue_pair: &mut dyn QueuePair, all: Vec<Asked>) {
    let (mut ops, mut done) = (Burst::new(), Burst::new());
    for (asked, number) in all.iter().zip(0..) {
        let request = match asked.key.modulus() {
            Some(_) => Request::rsa_private(&asked.key, &asked.input),
            None => Request::ecdsa_p256(&asked.key, &asked.input),
        };
        match request {
            Ok(request) => {
                let mut op = Op::new();
                op.prepare(Token(number), &request, 0);
                ops.push(op);
            }
            Err(_) => asked.answer.give(Vec::new()),
        }
    }
    let count = ops.len();
    while done.len() < count {
        queue_pair.enqueue_burst(&mut ops);
        queue_pair.flush();
        queue_pair.dequeue_burst(&mut done, count, u64::MAX);
    }
    for op in done {
        let signature = match op.status {
            OpStatus::Success => op.output().to_vec(),
            _ => Vec::new(),
        };
        all[op.token.0 as usize].answer.give(signature);
    }
}

fn label(state: &State, session: CK_SESSION_HANDLE, object: CK_OBJECT_HANDLE) -> Option<String> {
    let mut text = [0_u8; 64];
    let mut label = CK_ATTRIBUTE {
        type_: CKA_LABEL,
        pValue: text.as_mut_ptr().cast(),
        ulValueLen: text.len() as u64,
    };
    // SAFETY: the attribute's place is as long as it says.
    let rv = unsafe { state.inner.C_GetAttributeValue?(session, object, &mut label, 1) };
    let text = text.get(..label.ulValueLen as usize)?;
    (rv == CKR_OK).then(|| String::from_utf8_lossy(text).into_owned())
}

/// What is under these locks is whole at all times, so poison means nothing.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
