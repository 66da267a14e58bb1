//! The Environment Abstraction Layer: what must run before any device, once per process.

use std::ffi::CString;
use std::sync::{Mutex, MutexGuard, PoisonError};

use thiserror::Error;

use crate::ffi::{self, HeapStats, Running};

/// How EAL is initialised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EalConfig {
    /// Memory of DPDK's own in MiB where there are no hugepages; default 256. With hugepages it
    /// takes them as it needs them.
    pub memory_mib: u32,
    /// Whether to use hugepages; by default where the kernel has free ones of 2 MiB or 1 GiB.
    pub hugepages: bool,
    /// PCI addresses of the cards that EAL may take, such as `0000:3d:01.0`; none by default, and then
    /// it does not look at the bus.
    pub pci: Vec<String>,
    /// Further arguments, as on a DPDK application's command line.
    pub extra: Vec<String>,
}

impl Default for EalConfig {
    fn default() -> Self {
        Self {
            memory_mib: 256,
            hugepages: has_free_hugepages(),
            pci: Vec::new(),
            extra: Vec::new(),
        }
    }
}

impl EalConfig {
    /// The command line. `cores`: those that the caller may run on, all of which its lcore keeps: EAL
    /// would pin its caller to one otherwise.
    fn args(&self, cores: &[usize]) -> Vec<String> {
        let cores: Vec<_> = cores.iter().map(ToString::to_string).collect();
        let mut args = vec![
            "spinlane".to_owned(),
            format!("--lcores=0@({})", cores.join(",")),
            "--no-telemetry".to_owned(),
            "--iova-mode=va".to_owned(),
            "--log-level=*:warning".to_owned(),
        ];
        if self.hugepages {
            args.push("--in-memory".to_owned());
        } else {
            // EAL refuses --in-memory with --no-huge.
            args.extend(["--no-huge".to_owned(), "--no-shconf".to_owned()]);
            args.push(format!("-m{}", self.memory_mib));
            args.push(format!("--file-prefix=spinlane_{}", std::process::id()));
        }
        if self.pci.is_empty() {
            args.push("--no-pci".to_owned());
        }
        args.extend(self.pci.iter().map(|address| format!("-a{address}")));
        args.extend(self.extra.iter().cloned());
        args
    }
}

/// EAL cannot be had. The text names the remedy.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum EalError {
    /// It was cleaned up, which DPDK allows once per process.
    #[error(
        "EAL was cleaned up, and DPDK initialises it once per process; clean up at the very end"
    )]
    CleanedUp,
    /// It is not initialised.
    #[error("EAL is not initialised; call rte_eal_init before, or Eal::init instead")]
    NotRunning,
    /// An argument contains a zero byte.
    #[error("EAL argument {argument:?} contains a zero byte")]
    Argument {
        /// Which.
        argument: String,
    },
    /// DPDK refuses to start; it said why on stderr.
    #[error(
        "EAL cannot start: {reason} (arguments: {arguments}); DPDK's own lines above say more. \
         It needs a memory file system to write to, or 2 MiB hugepages"
    )]
    Init {
        /// What DPDK gave as the reason.
        reason: String,
        /// What it was given.
        arguments: String,
    },
    /// Somebody still uses it.
    #[error("EAL is in use: drop every device, queue pair and Eal before its cleanup")]
    InUse,
    /// DPDK failed to clean up.
    #[error("EAL cannot be cleaned up: {reason}")]
    Cleanup {
        /// What DPDK gave as the reason.
        reason: String,
    },
}

enum State {
    NotStarted,
    Running(Running),
    CleanedUp,
}

static STATE: Mutex<State> = Mutex::new(State::NotStarted);

fn state() -> MutexGuard<'static, State> {
    // A panic leaves the state as it was.
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What is to be done before EAL goes.
fn closers() -> MutexGuard<'static, Vec<fn(&Running)>> {
    static CLOSERS: Mutex<Vec<fn(&Running)>> = Mutex::new(Vec::new());
    CLOSERS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// EAL, running. Cheap to clone; devices hold one.
///
/// It runs until [`Eal::cleanup`] or the end of the process, which is as good: the kernel takes
/// everything back. The order that DPDK wants: queue pairs, devices, EAL.
#[derive(Clone, Debug)]
pub struct Eal {
    running: Running,
}

impl Eal {
    /// EAL as it runs, or started with `config`, its caller being the main lcore. The caller's
    /// affinity stays as it is.
    ///
    /// # Errors
    /// See [`EalError`].
    pub fn init(config: &EalConfig) -> Result<Self, EalError> {
        let mut state = state();
        let running = match &*state {
            State::Running(running) => running.clone(),
            State::CleanedUp => return Err(EalError::CleanedUp),
            State::NotStarted => {
                // An application's own EAL is found rather than started again.
                let running = match Running::find() {
                    Some(running) => running,
                    None => start(config)?,
                };
                *state = State::Running(running.clone());
                running
            }
        };
        Ok(Self { running })
    }

    /// EAL as the application initialised it by `rte_eal_init`.
    ///
    /// # Errors
    /// [`EalError::NotRunning`], [`EalError::CleanedUp`].
    pub fn adopt() -> Result<Self, EalError> {
        let mut state = state();
        let running = match &*state {
            State::Running(running) => running.clone(),
            State::CleanedUp => return Err(EalError::CleanedUp),
            State::NotStarted => {
                let running = Running::find().ok_or(EalError::NotRunning)?;
                *state = State::Running(running.clone());
                running
            }
        };
        Ok(Self { running })
    }

    /// Makes the calling thread an lcore of DPDK until it ends, so that DPDK's caches per lcore serve
    /// it. Opening a queue pair does it too. An lcore or registered thread stays what it is.
    ///
    /// # Errors
    /// DPDK's reason: there are too many lcores.
    pub fn register_thread(&self) -> Result<(), String> {
        self.running.register_thread().map_err(ffi::error_text)
    }

    /// DPDK's heap on one NUMA node; `None` if there is none.
    pub fn heap_stats(&self, socket: i32) -> Option<HeapStats> {
        self.running.heap(socket)
    }

    /// Gives everything back. It cannot be initialised again in this process.
    ///
    /// # Errors
    /// [`EalError::InUse`], [`EalError::Cleanup`].
    pub fn cleanup(self) -> Result<(), EalError> {
        let mut state = state();
        drop(self);
        if let State::Running(running) = &*state {
            // Each takes its own list, and calls nothing of this module.
            for close in closers().drain(..) {
                close(running);
            }
        }
        let State::Running(running) = std::mem::replace(&mut *state, State::CleanedUp) else {
            return Err(EalError::CleanedUp);
        };
        match running.clean_up() {
            Ok(()) => Ok(()),
            Err((_, Some(running))) => {
                *state = State::Running(running);
                Err(EalError::InUse)
            }
            Err((error, None)) => Err(EalError::Cleanup {
                reason: ffi::error_text(error),
            }),
        }
    }

    /// The proof that EAL runs, for those who call DPDK themselves.
    pub fn running(&self) -> &Running {
        &self.running
    }

    /// Has `close` called by [`Eal::cleanup`] before EAL goes: it closes what nobody uses and is kept to be used again. It must
    /// not call `Eal`.
    pub fn at_cleanup(close: fn(&Running)) {
        closers().push(close);
    }
}

fn start(config: &EalConfig) -> Result<Running, EalError> {
    let args = config.args(&ffi::allowed_cores());
    let arguments = args[1..].join(" ");
    let args = args
        .into_iter()
        .map(|argument| {
            CString::new(argument.as_str()).map_err(|_| EalError::Argument { argument })
        })
        .collect::<Result<Vec<_>, _>>()?;
    Running::init(args).map_err(|error| EalError::Init {
        reason: ffi::error_text(error),
        arguments,
    })
}

/// Whether the kernel has hugepages that nobody uses.
fn has_free_hugepages() -> bool {
    let Ok(sizes) = std::fs::read_dir("/sys/kernel/mm/hugepages") else {
        return false;
    };
    sizes.flatten().any(|size| {
        let free = std::fs::read_to_string(size.path().join("free_hugepages"));
        free.is_ok_and(|free| free.trim() != "0")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_with_hugepages_and_without() {
        let mut config = EalConfig {
            memory_mib: 64,
            hugepages: false,
            pci: Vec::new(),
            extra: Vec::new(),
        };
        let line = config.args(&[0, 2]).join(" ");
        assert!(line.contains("--lcores=0@(0,2)"), "{line}");
        assert!(
            line.contains("--no-huge --no-shconf -m64 --file-prefix="),
            "{line}"
        );
        assert!(
            line.ends_with("--no-pci") && !line.contains("--in-memory"),
            "{line}"
        );

        config.hugepages = true;
        config.pci = vec!["0000:3d:01.0".to_owned()];
        config.extra = vec!["--log-level=8".to_owned()];
        let line = config.args(&[1]).join(" ");
        assert!(
            line.contains("--in-memory") && !line.contains("--no-huge"),
            "{line}"
        );
        assert!(line.ends_with("-a0000:3d:01.0 --log-level=8"), "{line}");
    }
}
