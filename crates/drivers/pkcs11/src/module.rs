//! Modules: loaded and initialised once per process, whoever uses them, and left so until it ends.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error as Cryptoki, RvError};
use spinlane_crypto::fork_generation;

use crate::error::{Error, describe};
use crate::uri::{Attribute, Uri};

/// Folders in which modules are by name: p11-kit's first, which packages link theirs into.
const FOLDERS: [&str; 8] = [
    "/usr/lib/x86_64-linux-gnu/pkcs11",
    "/usr/lib/aarch64-linux-gnu/pkcs11",
    "/usr/lib64/pkcs11",
    "/usr/lib/pkcs11",
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
    "/usr/lib/softhsm",
    "/usr/local/lib",
];

/// A module that is initialised.
#[derive(Debug)]
pub(crate) struct Module {
    path: PathBuf,
    pkcs11: Pkcs11,
    /// [`fork_generation`] of the process that initialised it: PKCS #11 v2.40, section 5.4 has a child
    /// initialise it for itself.
    generation: u64,
    /// It was this process's first use, so that finalising it takes it from nobody.
    is_ours: bool,
    /// Threads that are within the module, or have a session open.
    users: Mutex<usize>,
}

/// The right to call the module: as long as one is there, the module is not finalised.
#[derive(Debug)]
pub(crate) struct User(Arc<Module>);

/// The modules of this process, by path. None is ever finalised: others in the process may use it by now.
static LOADED: Mutex<BTreeMap<PathBuf, Arc<Module>>> = Mutex::new(BTreeMap::new());

impl Module {
    /// The module that `uri` names.
    pub(crate) fn of(uri: &Uri) -> Result<Arc<Self>, Error> {
        if let Some(path) = uri.text(Attribute::ModulePath) {
            return Self::open(Path::new(path));
        }
        let name = uri.text(Attribute::ModuleName);
        let name = name.ok_or_else(|| Error::NoModule { uri: uri.clone() })?;
        let files = [format!("{name}.so"), format!("lib{name}.so")];
        let found = FOLDERS
            .iter()
            .flat_map(|folder| files.iter().map(|file| Path::new(folder).join(file)))
            .find(|path| path.exists());
        Self::open(&found.ok_or_else(|| Error::ModuleName {
            name: name.to_owned(),
            folders: FOLDERS.join(", "),
        })?)
    }

    /// The module at `path`: the one in use, or loaded and initialised now.
    fn open(path: &Path) -> Result<Arc<Self>, Error> {
        // A link and its target are one module.
        let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(module) = loaded.get(&path).filter(|module| !module.is_forked()) {
            return Ok(Arc::clone(module));
        }
        let module = Arc::new(Self::load(path.clone())?);
        // What a child has inherited stays loaded: the parent's sessions are not the child's to close.
        if let Some(inherited) = loaded.insert(path, Arc::clone(&module)) {
            std::mem::forget(inherited);
        }
        Ok(module)
    }

    fn load(path: PathBuf) -> Result<Self, Error> {
        let failed = |reason: Cryptoki| Error::Module {
            path: path.clone(),
            reason: describe(&reason),
        };
        let pkcs11 = Pkcs11::new(&path).map_err(failed)?;
        let is_ours = match initialize(&pkcs11) {
            Ok(()) => true,
            // Somebody else in this process uses it.
            Err(Cryptoki::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => false,
            Err(reason) => return Err(failed(reason)),
        };
        Ok(Self {
            path,
            pkcs11,
            generation: fork_generation(),
            is_ours,
            users: Mutex::new(0),
        })
    }

    /// Whether this process is a copy of the one that initialised the module.
    pub(crate) fn is_forked(&self) -> bool {
        self.generation != fork_generation()
    }

    pub(crate) fn enter(self: &Arc<Self>) -> User {
        *self.users() += 1;
        User(Arc::clone(self))
    }

    /// Finalises the module and initialises it again, unless somebody else uses it: modules that have lost
    /// their daemon, their network or their token's file find them again in no other way. Returns whether
    /// that was done.
    pub(crate) fn restart(&self, user: &User) -> Result<bool, Cryptoki> {
        debug_assert!(std::ptr::eq(self, &*user.0), "a user of this module");
        let users = self.users();
        if *users != 1 || !self.is_ours || self.is_forked() {
            return Ok(false);
        }
        tracing::info!(
            "PKCS#11 module {} is initialised again",
            self.path.display()
        );
        match self.pkcs11.clone().finalize() {
            Ok(()) | Err(Cryptoki::Pkcs11(RvError::CryptokiNotInitialized, _)) => {}
            Err(error) => return Err(error),
        }
        initialize(&self.pkcs11)?;
        Ok(true)
    }

    fn users(&self) -> MutexGuard<'_, usize> {
        self.users.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl User {
    pub(crate) fn pkcs11(&self) -> &Pkcs11 {
        &self.0.pkcs11
    }

    pub(crate) fn module(&self) -> &Arc<Module> {
        &self.0
    }
}

impl Drop for User {
    fn drop(&mut self) {
        *self.0.users() -= 1;
    }
}

fn initialize(pkcs11: &Pkcs11) -> Result<(), Cryptoki> {
    pkcs11.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK))
}
