//! `ASYNC_start_job` and `ASYNC_pause_job` as C calls them.
//!
//! A pause and a resume are two switches and little else, yet written as two functions that call
//! the switch they take 26 ns, of which the switches themselves are 2. Registers are saved twice,
//! by the function and by the switch. A `ret` after a switch is mispredicted, because the processor
//! predicts it from a stack of its own, filled by `call`, which the switch puts out of step. And
//! the job, its fiber and its stack pointer are found through each other, load after load. So on
//! x86_64 the two functions are written here in assembly for the case in which there is nothing to
//! do but to switch: they save each register once, where the fiber's own switch finds it, and go
//! back by a jump, which is predicted by its own history. `spinlane_job::layout` says where things
//! are and what each side owes the other. Whatever else may be the case (a start, a cancelled job,
//! an op not done, descriptors that changed, another library context, a NULL) goes the long way, to
//! the same functions in Rust.
//!
//! ```text
//!   application ─ call ▶ ASYNC_start_job ── to the fiber ──▶ after its ASYNC_pause_job
//!   after its ASYNC_start_job ◀── to the resumer ── ASYNC_pause_job ◀ call ─ job
//! ```

use std::ffi::{c_int, c_void};

use spinlane_job::{Job, WaitCtx, pause};

use super::job::{JobFn, start_job};

/// What both ways say of themselves.
macro_rules! pause_job_doc {
    () => {
        "ASYNC_pause_job(3): gives control back to whoever started the current job. Returns 1 when
resumed, and at once outside a job or while pausing is blocked."
    };
}
macro_rules! start_job_doc {
    () => {
        "ASYNC_start_job(3): starts `func` with a copy of `size` bytes at `args` as a job under
`wait_ctx`, or, where `*job` is a paused job, resumes that.

Returns [`ASYNC_FINISH`](crate::abi::ASYNC_FINISH) with the function's result in `*ret` and
`*job` NULL, [`ASYNC_PAUSE`](crate::abi::ASYNC_PAUSE) with the job in `*job`,
[`ASYNC_NO_JOBS`](crate::abi::ASYNC_NO_JOBS), or [`ASYNC_ERR`](crate::abi::ASYNC_ERR) with an
entry in the error queue: a NULL, a job of another thread, a job that is not paused, a start
from within a job.

# Safety
`job` and `ret` are NULL or valid for writing; `*job` is NULL or a job that this function
stored; `wait_ctx` is NULL or an `ASYNC_WAIT_CTX` not freed; `args` is NULL or valid for
`size` bytes; `func` may be called with a copy of them."
    };
}

extern "C" fn pause_job() -> c_int {
    pause();
    1
}

/// Not under AddressSanitizer, which must be told of each switch.
#[cfg(all(target_arch = "x86_64", not(spinlane_asan)))]
mod short_way {
    use std::arch::naked_asm;

    use spinlane_job::layout::*;

    use super::super::job::finish_job;
    use super::super::libctx::DISTANCE;
    use super::*;

    /// Stores the caller's registers in the record r11 at `MINE`, as the caller finds them after
    /// the return, the return address being taken off the stack; loads the other side's at `THEIRS`
    /// and goes on there, where eax is what its function returns. `back` is for a switch in Rust.
    macro_rules! switch {
        ($returns:literal) => {
            concat!(
                "pop rcx
                 mov [r11 + {MINE}], rbp
                 mov [r11 + {MINE} + 8], rcx
                 mov [r11 + {MINE} + 16], rsp
                 mov [r11 + {MINE} + 24], rbx
                 mov [r11 + {MINE} + 32], r12
                 mov [r11 + {MINE} + 40], r13
                 mov [r11 + {MINE} + 48], r14
                 mov [r11 + {MINE} + 56], r15
                 lea rcx, [rip + {back}]
                 mov [r11 + {MINE} + 64], rcx
                 mov rbp, [r11 + {THEIRS}]
                 mov rcx, [r11 + {THEIRS} + 8]
                 mov rsp, [r11 + {THEIRS} + 16]
                 mov rbx, [r11 + {THEIRS} + 24]
                 mov r12, [r11 + {THEIRS} + 32]
                 mov r13, [r11 + {THEIRS} + 40]
                 mov r14, [r11 + {THEIRS} + 48]
                 mov r15, [r11 + {THEIRS} + 56]
                 mov eax, ",
                $returns,
                "
                 jmp rcx"
            )
        };
    }

    #[doc = pause_job_doc!()]
    #[unsafe(no_mangle)]
    #[unsafe(naked)]
    pub extern "C" fn ASYNC_pause_job() -> c_int {
        naked_asm!(
            // rax the thread's record, rdx the job, r11 its fiber's record. The record is asked for
            // by a call, which keeps all registers but rax that matter here and wants the stack
            // aligned.
            "push rax",
            "lea rax, [rip + spinlane_thread@TLSDESC]",
            "call [rax + spinlane_thread@TLSCALL]",
            "pop rcx",
            "add rax, fs:[0]",
            "mov rdx, [rax + {THREAD_CURRENT}]",
            "test rdx, rdx",
            "jz 9f",
            "cmp qword ptr [rax + {THREAD_BLOCKED}], 0",
            "jne 9f",
            "mov r11, [rax + {THREAD_FIBER}]",
            "cmp r11, [rdx + {JOB_RECORD}]",
            "jne 9f",
            // The job's library context is its caller's.
            "mov rcx, [rip + {DISTANCE}]",
            "mov rcx, fs:[rcx]",
            "cmp rcx, [rdx + {JOB_CALLERS_CONTEXT}]",
            "jne 9f",
            "mov [rdx + {JOB_OWN_CONTEXT}], rcx",
            "mov byte ptr [rdx + {JOB_STATE}], {JOB_PAUSED}",
            "mov byte ptr [r11 + {BODY}], {SUSPENDED}",
            "mov qword ptr [rax + {THREAD_CURRENT}], 0",
            "mov qword ptr [rax + {THREAD_FIBER}], 0",
            switch!("2"), // ASYNC_PAUSE
            "9: jmp {pause_job}",
            DISTANCE = sym DISTANCE,
            THREAD_CURRENT = const THREAD_CURRENT, THREAD_BLOCKED = const THREAD_BLOCKED,
            THREAD_FIBER = const THREAD_FIBER, JOB_RECORD = const JOB_RECORD,
            JOB_CALLERS_CONTEXT = const JOB_CALLERS_CONTEXT,
            JOB_OWN_CONTEXT = const JOB_OWN_CONTEXT, JOB_STATE = const JOB_STATE,
            JOB_PAUSED = const JOB_PAUSED, BODY = const BODY, SUSPENDED = const SUSPENDED,
            MINE = const FIBER, THEIRS = const RESUMER,
            back = sym back_in_pause,
            pause_job = sym pause_job,
        )
    }

    #[doc = start_job_doc!()]
    #[unsafe(no_mangle)]
    #[unsafe(naked)]
    pub unsafe extern "C" fn ASYNC_start_job(
        job: *mut *mut Job,
        wait_ctx: *mut WaitCtx,
        ret: *mut c_int,
        func: Option<JobFn>,
        args: *mut c_void,
        size: usize,
    ) -> c_int {
        naked_asm!(
            // rdi the place of the job and rdx that of its result, rax the job, r10 the thread's
            // record, r11 the fiber's. The arguments stay as they are for the long way. The record
            // is asked for, as in ASYNC_pause_job: a job may have outlived its thread, but the
            // record has not.
            "test rdi, rdi",
            "jz 9f",
            "test rdx, rdx",
            "jz 9f",
            "push rax",
            "lea rax, [rip + spinlane_thread@TLSDESC]",
            "call [rax + spinlane_thread@TLSCALL]",
            "pop r10",
            "add rax, fs:[0]",
            "mov r10, rax",
            "mov rax, [rdi]",
            "test rax, rax",
            "jz 9f",
            "mov r11, [r10 + {THREAD_NAME}]",
            "cmp [rax + {JOB_THREAD}], r11",
            "jne 9f",
            "cmp byte ptr [rax + {JOB_STATE}], {JOB_PAUSED}",
            "jne 9f",
            "cmp byte ptr [rax + {JOB_DETOUR}], 0",
            "jne 9f",
            "cmp qword ptr [r10 + {THREAD_FIBER}], 0",
            "jne 9f",
            "cmp qword ptr [r10 + {THREAD_CANCELLING}], 0",
            "jne 9f",
            // The caller's library context is the job's.
            "mov r11, [rip + {DISTANCE}]",
            "mov r11, fs:[r11]",
            "cmp r11, [rax + {JOB_OWN_CONTEXT}]",
            "jne 9f",
            "mov [rax + {JOB_CALLERS_CONTEXT}], r11",
            "mov r11, [rax + {JOB_RECORD}]",
            "mov [r10 + {THREAD_CURRENT}], rax",
            "mov [r10 + {THREAD_FIBER}], r11",
            "mov byte ptr [rax + {JOB_STATE}], {JOB_RUNNING}",
            "mov byte ptr [r11 + {BODY}], {RUNNING}",
            "mov [r11 + {LEFT}], rdi",
            "mov [r11 + {LEFT} + 8], rdx",
            switch!("1"), // what ASYNC_pause_job returns
            "9: jmp {start_job}",
            DISTANCE = sym DISTANCE,
            JOB_THREAD = const JOB_THREAD, THREAD_NAME = const THREAD_NAME,
            JOB_STATE = const JOB_STATE, JOB_PAUSED = const JOB_PAUSED, JOB_RUNNING = const JOB_RUNNING,
            JOB_DETOUR = const JOB_DETOUR, JOB_RECORD = const JOB_RECORD,
            JOB_CALLERS_CONTEXT = const JOB_CALLERS_CONTEXT,
            JOB_OWN_CONTEXT = const JOB_OWN_CONTEXT,
            THREAD_FIBER = const THREAD_FIBER, THREAD_CURRENT = const THREAD_CURRENT,
            THREAD_CANCELLING = const THREAD_CANCELLING,
            BODY = const BODY, RUNNING = const RUNNING, LEFT = const LEFT,
            MINE = const RESUMER, THEIRS = const FIBER,
            back = sym back_in_start,
            start_job = sym start_job,
        )
    }

    /// A job that paused the short way is resumed the long way: rdi is its fiber's record, rbp, rsp
    /// and rbx are as after the return from [`ASYNC_pause_job`].
    #[unsafe(naked)]
    extern "C" fn back_in_pause() {
        naked_asm!(
            "mov r12, [rdi + {FIBER} + 32]",
            "mov r13, [rdi + {FIBER} + 40]",
            "mov r14, [rdi + {FIBER} + 48]",
            "mov r15, [rdi + {FIBER} + 56]",
            "jmp [rdi + {FIBER} + 8]",
            FIBER = const FIBER,
        )
    }

    /// The job that [`ASYNC_start_job`] resumed has paused the long way, or its function has
    /// returned: rdi is its fiber's record, eax says which, rbp, rsp and rbx are as after the
    /// return.
    #[unsafe(naked)]
    extern "C" fn back_in_start() {
        naked_asm!(
            ".cfi_startproc",
            ".cfi_def_cfa_offset 0",
            "mov r12, [rdi + {RESUMER} + 32]",
            "mov r13, [rdi + {RESUMER} + 40]",
            "mov r14, [rdi + {RESUMER} + 48]",
            "mov r15, [rdi + {RESUMER} + 56]",
            "cmp eax, 2", // ASYNC_PAUSE
            "jne 2f",
            "jmp [rdi + {RESUMER} + 8]",
            "2:",
            "push [rdi + {RESUMER} + 8]",
            ".cfi_def_cfa_offset 8",
            "sub rsp, 8",
            ".cfi_def_cfa_offset 16",
            "mov rsi, [rdi + {LEFT} + 8]",
            "mov rdi, [rdi + {LEFT}]",
            "call {finish_job}",
            "add rsp, 8",
            ".cfi_def_cfa_offset 8",
            "ret",
            ".cfi_endproc",
            RESUMER = const RESUMER,
            LEFT = const LEFT,
            finish_job = sym finish_job,
        )
    }
}

#[cfg(all(target_arch = "x86_64", not(spinlane_asan)))]
pub use short_way::{ASYNC_pause_job, ASYNC_start_job};

#[cfg(not(all(target_arch = "x86_64", not(spinlane_asan))))]
pub use long_way::{ASYNC_pause_job, ASYNC_start_job};

#[cfg(not(all(target_arch = "x86_64", not(spinlane_asan))))]
mod long_way {
    use super::*;

    #[doc = pause_job_doc!()]
    #[unsafe(no_mangle)]
    pub extern "C" fn ASYNC_pause_job() -> c_int {
        pause_job()
    }

    #[doc = start_job_doc!()]
    #[unsafe(no_mangle)]
    pub unsafe extern "C" fn ASYNC_start_job(
        job: *mut *mut Job,
        wait_ctx: *mut WaitCtx,
        ret: *mut c_int,
        func: Option<JobFn>,
        args: *mut c_void,
        size: usize,
    ) -> c_int {
        // SAFETY: the same contract.
        unsafe { start_job(job, wait_ctx, ret, func, args, size) }
    }
}
