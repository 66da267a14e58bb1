//! Pools of stacks.

use std::cell::Cell;
use std::ptr::NonNull;
use std::rc::Rc;

use crate::map::{self, Cutter, MapError};
use crate::overflow;
use crate::stack::{self, Stack, StackError, page_size};
use crate::wipe::Depth;

/// What a [`StackPool`] hands out, and how much.
#[derive(Debug, Clone, Copy)]
pub struct PoolConfig {
    /// Names the pool in errors and in the report of an overflow.
    pub name: &'static str,
    /// Usable bytes of each stack, rounded up to whole pages.
    pub stack_size: usize,
    /// Stacks at once, idle and leaked ones included; 0 sets no limit.
    pub max: usize,
    /// What the report of an overflow tells to do.
    pub remedy: &'static str,
}

impl Default for PoolConfig {
    /// 64 KiB a stack, no limit.
    fn default() -> Self {
        Self {
            name: "fibers",
            stack_size: 64 * 1024,
            max: 0,
            remedy: "raise PoolConfig::stack_size",
        }
    }
}

/// Counts of a [`StackPool`], in stacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolStats {
    /// Taken and neither put back nor dropped nor leaked.
    pub in_use: usize,
    /// Mapped and waiting in the pool.
    pub idle: usize,
    /// Most ever in use at once.
    pub peak: usize,
    /// Lost with a suspended fiber that was dropped; mapped until exit.
    pub leaked: usize,
}

/// What a pool and its stacks both know. A stack may outlive its pool.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) name: &'static str,
    pub(crate) remedy: &'static str,
    /// Usable bytes of each stack, whole pages.
    pub(crate) stack_size: usize,
    pub(crate) depth: Depth,
    in_use: Cell<usize>,
    /// Most in use at once in this period, in the last one, and before that.
    recent_peak: Cell<usize>,
    last_peak: Cell<usize>,
    early_peak: Cell<usize>,
    leaked: Cell<usize>,
}

impl Shared {
    #[inline]
    pub(crate) fn stack_taken(&self) {
        let in_use = self.in_use.get() + 1;
        self.in_use.set(in_use);
        if in_use > self.recent_peak.get() {
            self.recent_peak.set(in_use);
        }
    }

    #[inline]
    pub(crate) fn stack_returned(&self) {
        self.in_use.set(self.in_use.get() - 1);
    }

    /// Returns the most stacks in use at once since the period before this one began.
    fn peak_lately(&self) -> usize {
        self.recent_peak.get().max(self.last_peak.get())
    }

    pub(crate) fn stack_leaked(&self) {
        self.stack_returned();
        self.leaked.set(self.leaked.get() + 1);
    }
}

/// A stack that waits in its pool.
#[derive(Debug)]
struct Idle {
    bottom: NonNull<u8>,
    /// See [`Stack::soil`].
    is_soiled: bool,
}

/// One thread's stacks of one size, kept mapped between fibers.
///
/// Grows on demand up to [`PoolConfig::max`]; gives memory back only when asked
/// ([`trim`](Self::trim), [`trim_unneeded`](Self::trim_unneeded)) or dropped. The stack put back
/// last is handed out first, for its top is still in the cache.
///
/// A pool stays on its thread:
/// ```compile_fail,E0277
/// let pool = spinlane_fiber::StackPool::new(spinlane_fiber::PoolConfig::default());
/// std::thread::spawn(move || drop(pool));
/// ```
#[derive(Debug)]
pub struct StackPool {
    idle: Vec<Idle>,
    /// Number of idle stacks that are soiled.
    soiled: usize,
    cutter: Cutter,
    shared: Rc<Shared>,
    max: usize,
}

impl StackPool {
    /// Makes an empty pool. A thread without alternate signal stack gets one here, so that
    /// [`install_overflow_handler`](crate::install_overflow_handler) works on threads that std did
    /// not start.
    pub fn new(config: PoolConfig) -> Self {
        overflow::ensure_alternate_stack();
        let stack_size = config
            .stack_size
            .max(1)
            .checked_next_multiple_of(page_size())
            .unwrap_or(usize::MAX);
        Self {
            idle: Vec::new(),
            soiled: 0,
            cutter: Cutter::new(stack_size),
            shared: Rc::new(Shared {
                name: config.name,
                remedy: config.remedy,
                stack_size,
                depth: Depth::default(),
                in_use: Cell::new(0),
                recent_peak: Cell::new(0),
                last_peak: Cell::new(0),
                early_peak: Cell::new(0),
                leaked: Cell::new(0),
            }),
            max: config.max,
        }
    }

    /// Takes the stack that was put back last, or a new one.
    ///
    /// # Errors
    /// [`StackError::Exhausted`] at the maximum, [`StackError::Mappings`] at
    /// that of the process, [`StackError::Map`] when the kernel gives no memory.
    #[inline]
    pub fn take(&mut self) -> Result<Stack, StackError> {
        match self.idle.pop() {
            Some(Idle { bottom, is_soiled }) => {
                self.soiled -= usize::from(is_soiled);
                Ok(Stack::new(bottom, Rc::clone(&self.shared), is_soiled))
            }
            None => self.grow(),
        }
    }

    #[cold]
    fn grow(&mut self) -> Result<Stack, StackError> {
        Ok(Stack::new(self.map()?, Rc::clone(&self.shared), false))
    }

    /// Maps a stack, and makes room for it among the idle, so that
    /// [`put`](Self::put) need not allocate.
    fn map(&mut self) -> Result<NonNull<u8>, StackError> {
        let PoolStats {
            in_use,
            idle,
            leaked,
            ..
        } = self.stats();
        if self.max != 0 && in_use + idle + leaked >= self.max {
            return Err(StackError::Exhausted {
                pool: self.shared.name,
                max: self.max,
            });
        }
        self.idle.reserve(in_use + 1);
        let pool = self.shared.name;
        self.cutter.cut().map_err(|error| match error {
            MapError::Mappings(stacks) => StackError::Mappings { pool, stacks },
            MapError::Kernel(source) => StackError::Map {
                pool,
                size: self.shared.stack_size,
                source,
            },
        })
    }

    /// Keeps `stack` for the next [`take`](Self::take). A stack of another
    /// pool is unmapped instead. Never allocates.
    #[inline]
    pub fn put(&mut self, stack: Stack) {
        if Rc::ptr_eq(stack.shared(), &self.shared) {
            let is_soiled = stack.is_soiled();
            self.soiled += usize::from(is_soiled);
            self.idle.push(Idle {
                bottom: stack.into_bottom(),
                is_soiled,
            });
        }
    }

    /// Wipes the idle stacks that are [soiled](Stack::soil).
    pub fn wipe_soiled(&mut self) {
        // What was put back last lies last.
        for stack in self.idle.iter_mut().rev() {
            if self.soiled == 0 {
                break;
            }
            if std::mem::take(&mut stack.is_soiled) {
                self.soiled -= 1;
                // SAFETY: mapped by this pool at this size; idle, so no fiber is on it.
                unsafe {
                    self.shared
                        .depth
                        .wipe(stack.bottom.as_ptr(), self.shared.stack_size);
                }
            }
        }
    }

    /// Maps stacks until `n` are idle, so that as many calls of
    /// [`take`](Self::take) need no system call. The pages themselves come
    /// when they are first touched.
    ///
    /// # Errors
    /// As [`take`](Self::take); the stacks mapped until then are kept.
    pub fn reserve(&mut self, n: usize) -> Result<(), StackError> {
        while self.idle.len() < n {
            let bottom = self.map()?;
            self.idle.push(Idle {
                bottom,
                is_soiled: false,
            });
        }
        Ok(())
    }

    /// Unmaps idle stacks until at most `keep` are left, those unused for longest first. Returns
    /// how many were unmapped.
    pub fn trim(&mut self, keep: usize) -> usize {
        let excess = self.idle.len().saturating_sub(keep);
        for Idle { bottom, is_soiled } in self.idle.drain(..excess) {
            self.soiled -= usize::from(is_soiled);
            // SAFETY: mapped by this pool at this size; idle, so unused.
            unsafe { map::unmap(bottom, self.shared.stack_size) };
        }
        excess
    }

    /// Ends a period, by whatever clock: what was needed at once in this one and the next is kept
    /// by [`trim_unneeded`](Self::trim_unneeded) until the next one has ended.
    pub fn end_period(&mut self) {
        let shared = &*self.shared;
        shared.early_peak.set(self.stats().peak);
        let ended = shared.recent_peak.replace(shared.in_use.get());
        shared.last_peak.set(ended);
    }

    /// Unmaps idle stacks that a burst has left: more than `keep`, and more than were in use at
    /// once in this period and the last. Unmaps at most `at_most`, so that nobody waits for long.
    /// Returns how many were unmapped.
    pub fn trim_unneeded(&mut self, keep: usize, at_most: usize) -> usize {
        let needed = self.shared.peak_lately().max(keep);
        let there = self.shared.in_use.get() + self.idle.len();
        let excess = there.saturating_sub(needed).min(at_most);
        self.trim(self.idle.len().saturating_sub(excess))
    }

    /// Returns the counts as of now.
    pub fn stats(&self) -> PoolStats {
        PoolStats {
            in_use: self.shared.in_use.get(),
            idle: self.idle.len(),
            peak: self.shared.early_peak.get().max(self.shared.peak_lately()),
            leaked: self.shared.leaked.get(),
        }
    }

    /// Returns the largest [`Stack::high_water`] among the idle stacks, in bytes.
    pub fn high_water(&self) -> usize {
        // SAFETY: mapped by this pool at this size.
        let marks = self
            .idle
            .iter()
            .map(|idle| unsafe { stack::high_water(idle.bottom, self.shared.stack_size) });
        marks.max().unwrap_or(0)
    }

    /// Returns the usable bytes of each stack: [`PoolConfig::stack_size`] in whole pages.
    pub fn stack_size(&self) -> usize {
        self.shared.stack_size
    }
}

impl Drop for StackPool {
    fn drop(&mut self) {
        self.trim(0);
    }
}
