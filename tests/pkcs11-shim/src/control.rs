//! What the faults are, and the file by which a test sets them while the module works.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

/// Words in the file: knobs first, then counters.
const WORDS: usize = 32;
/// Where the counters begin.
const COUNTERS: usize = 16;

/// What can be set; 0 switches each off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Knob {
    /// How long a signature takes longer, in microseconds.
    LatencyUs,
    /// Every so many signatures the session is closed: CKR_SESSION_HANDLE_INVALID.
    LoseEvery,
    /// Every so many signatures: CKR_DEVICE_ERROR.
    ErrorEvery,
    /// Every so many signatures one bit of the result is flipped.
    WrongEvery,
    /// The token is not in its slot; its sessions are gone.
    Absent,
    /// So many signatures do not return before [`Knob::Release`] changes. Counts down.
    Hang,
    /// Changed, it lets all calls go that hang.
    Release,
    /// Mechanisms that the token does not have: a sum of the `HIDE_` constants of [`Control`].
    Hide,
    /// The module has lost its token until it is initialised again.
    Deaf,
    /// Flags of the token that are shown as well (CK_TOKEN_INFO).
    TokenFlags,
}

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Counter {
    /// Calls of C_Sign and C_Decrypt that asked for a result.
    Operations,
    /// Sessions opened.
    Opened,
    /// Sessions closed, by the application or by a fault.
    Closed,
    /// Calls of C_Login, whatever they returned.
    Logins,
    /// Sessions that [`Knob::LoseEvery`] closed.
    Lost,
    /// Calls that hang now.
    Hanging,
    /// Calls of C_Initialize that succeeded.
    Initialised,
    /// Calls of C_Sign and C_Decrypt that returned CKR_OK.
    Succeeded,
}

const KNOBS: [(&str, Knob); 10] = [
    ("latency_us", Knob::LatencyUs),
    ("lose_every", Knob::LoseEvery),
    ("error_every", Knob::ErrorEvery),
    ("wrong_every", Knob::WrongEvery),
    ("absent", Knob::Absent),
    ("hang", Knob::Hang),
    ("release", Knob::Release),
    ("hide", Knob::Hide),
    ("deaf", Knob::Deaf),
    ("token_flags", Knob::TokenFlags),
];

/// The control file as a test sees it. The module maps the same file.
#[derive(Debug)]
pub struct Control(File);

impl Control {
    /// Hides CKM_RSA_X_509.
    pub const HIDE_RSA_RAW: u64 = 1;
    /// Hides CKM_RSA_PKCS.
    pub const HIDE_RSA_PKCS: u64 = 2;
    /// Hides CKM_RSA_PKCS_PSS.
    pub const HIDE_RSA_PSS: u64 = 4;
    /// Hides CKM_ECDSA.
    pub const HIDE_ECDSA: u64 = 8;
    /// Hides CKM_EDDSA.
    pub const HIDE_EDDSA: u64 = 16;

    /// Opens the control file at `path`, and makes it if it is not there, with everything off.
    ///
    /// # Errors
    /// The file cannot be made.
    pub fn open(path: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let file = options.open(path)?;
        file.set_len((WORDS * 8) as u64)?;
        Ok(Self(file))
    }

    /// Sets `knob` to `value`, for every process that uses the file.
    ///
    /// # Panics
    /// If the file cannot be written.
    pub fn set(&self, knob: Knob, value: u64) {
        let at = knob as u64 * 8;
        let written = self.0.write_all_at(&value.to_ne_bytes(), at);
        written.expect("the control file can be written");
    }

    /// What was counted so far.
    ///
    /// # Panics
    /// If the file cannot be read.
    pub fn count(&self, counter: Counter) -> u64 {
        let mut word = [0; 8];
        let at = (COUNTERS + counter as usize) as u64 * 8;
        let read = self.0.read_exact_at(&mut word, at);
        read.expect("the control file can be read");
        u64::from_ne_bytes(word)
    }

    pub(crate) fn file(&self) -> &File {
        &self.0
    }
}

/// The words as the module sees them.
pub(crate) struct Words([AtomicU64; WORDS]);

impl Words {
    pub(crate) const BYTES: usize = WORDS * 8;

    pub(crate) const fn off() -> Self {
        Self([const { AtomicU64::new(0) }; WORDS])
    }

    pub(crate) fn knob(&self, knob: Knob) -> &AtomicU64 {
        &self.0[knob as usize]
    }

    /// The value of `knob`.
    pub(crate) fn get(&self, knob: Knob) -> u64 {
        self.knob(knob).load(Ordering::Relaxed)
    }

    /// Counts one; returns how many there are now.
    pub(crate) fn add(&self, counter: Counter) -> u64 {
        self.0[COUNTERS + counter as usize].fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Counts one back.
    pub(crate) fn subtract(&self, counter: Counter) {
        self.0[COUNTERS + counter as usize].fetch_sub(1, Ordering::Relaxed);
    }

    /// Sets what `text` says: `name=value`, with commas between. Says what is wrong with it.
    pub(crate) fn apply(&self, text: &str) -> Result<(), String> {
        for setting in text.split(',').filter(|setting| !setting.is_empty()) {
            let (name, value) = setting.split_once('=').unwrap_or((setting, ""));
            let knob = KNOBS.iter().find(|(known, _)| *known == name);
            let (Some((_, knob)), Ok(value)) = (knob, value.parse()) else {
                return Err(format!("{setting:?} is no fault; there is {KNOBS:?}"));
            };
            self.knob(*knob).store(value, Ordering::Relaxed);
        }
        Ok(())
    }
}
