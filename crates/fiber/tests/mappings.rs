//! How many mappings stacks take, and what happens where there are no more. What is counted is the
//! process's, so each test is a process of its own: this binary again, with a case to run.

use std::process::Command;

use spinlane_fiber::{
    Fiber, PoolConfig, Stack, StackError, StackPool, State, install_overflow_handler,
    max_map_count_for, most_stacks, suspend,
};

const CASE: &str = "SPINLANE_FIBER_MAPPINGS_CASE";
const OLD_KERNEL: &str = "SPINLANE_FIBER_MAPPINGS_OLD_KERNEL";
const STACKS: usize = 1000;

fn pool() -> StackPool {
    StackPool::new(PoolConfig {
        name: "jobs",
        ..PoolConfig::default()
    })
}

fn mappings() -> usize {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    maps.lines().count()
}

/// Makes madvise(MADV_GUARD_INSTALL) fail as in a kernel that does not know it, by seccomp(2).
fn become_an_old_kernel() {
    const GUARD_INSTALL: u32 = 102;
    let statement = |code, k| libc::sock_filter {
        code,
        jt: 0,
        jf: 0,
        k,
    };
    let unless = |value, skipped| libc::sock_filter {
        code: (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16,
        jt: 0,
        jf: skipped,
        k: value,
    };
    // Offsets in struct seccomp_data: the number, and the lower half of the third argument.
    let load = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    let result = (libc::BPF_RET | libc::BPF_K) as u16;
    let filter = [
        statement(load, 0),
        unless(libc::SYS_madvise as u32, 3),
        statement(load, 16 + 2 * 8),
        unless(GUARD_INSTALL, 1),
        statement(result, libc::SECCOMP_RET_ERRNO | libc::EINVAL as u32),
        statement(result, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog {
        len: filter.len() as u16,
        filter: filter.as_ptr().cast_mut(),
    };
    // SAFETY: a filter that lives through the call, which copies it.
    unsafe {
        assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        let mode = libc::SECCOMP_MODE_FILTER;
        assert_eq!(
            libc::prctl(libc::PR_SET_SECCOMP, mode, &raw const program),
            0
        );
    }
}

fn kernel_has_guards() -> bool {
    // SAFETY: a fresh page, which is unmapped again.
    unsafe {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        let page = libc::mmap(std::ptr::null_mut(), 4096, libc::PROT_NONE, flags, -1, 0);
        let installed = libc::madvise(page, 4096, 102) == 0;
        libc::munmap(page, 4096);
        installed
    }
}

/// Fibers that have used their stacks.
fn suspended(pool: &mut StackPool, count: usize) -> Vec<Fiber> {
    let fibers = (0..count).map(|_| {
        let fiber = Fiber::new(pool.take().unwrap(), || suspend().unwrap());
        assert_eq!(fiber.resume(), State::Suspended);
        fiber
    });
    fibers.collect()
}

fn count() {
    let before = mappings();
    let mut pool = pool();
    let fibers = suspended(&mut pool, STACKS);
    let made = mappings() - before;
    let most = match kernel_has_guards() {
        true => STACKS / 8,
        // AddressSanitizer maps some as well.
        false => 2 * STACKS + 64,
    };
    assert!(made <= most, "{made} mappings for {STACKS} stacks");
    for fiber in fibers {
        assert_eq!(fiber.resume(), State::Returned);
        pool.put(fiber.into_stack().unwrap());
    }
    assert_eq!(pool.trim(0), STACKS);
    drop(pool);
    let left = mappings().saturating_sub(before);
    // The alternate signal stack, and what the allocator keeps.
    assert!(left <= 64, "{left} mappings left");
}

/// The pool's last stack of all.
fn exhaust() {
    let mut pool = pool();
    let mut stacks: Vec<Stack> = Vec::new();
    let error = loop {
        match pool.take() {
            Ok(stack) => stacks.push(stack),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, StackError::Mappings { .. }), "{error}");
    assert!(error.to_string().contains("vm.max_map_count"), "{error}");
    let most = most_stacks();
    let text = std::fs::read_to_string("/proc/sys/vm/max_map_count").unwrap();
    let limit: usize = text.trim().parse().unwrap();
    assert!(
        max_map_count_for(most).abs_diff(limit) < 8,
        "{most} of {limit}"
    );
    // One is this thread's signal stack.
    assert!(
        (most - 2..=most).contains(&stacks.len()),
        "{} of {most}",
        stacks.len()
    );
    // Others find room still.
    let threads: Vec<_> = (0..100)
        .map(|_| {
            std::thread::Builder::new()
                .spawn(std::thread::yield_now)
                .unwrap()
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    // And so do we when one is given back.
    drop(stacks.pop());
    assert!(pool.take().is_ok());
    drop(stacks);
}

#[expect(unconditional_recursion, reason = "that is the point")]
fn recurse(depth: u64) -> u64 {
    std::hint::black_box(recurse(std::hint::black_box(depth + 1)) + depth)
}

fn overflow() {
    install_overflow_handler();
    let mut pool = pool();
    // Neither the first nor the last of those cut from one mapping.
    let _others = suspended(&mut pool, 5);
    let stack = pool.take().unwrap();
    let _more = suspended(&mut pool, 5);
    let fiber = Fiber::new(stack, || {
        recurse(0);
    });
    let _ = fiber.resume();
}

/// The guards are the child's as well.
fn overflow_after_fork() {
    let mut pool = pool();
    let kept: Vec<_> = (0..4).map(|_| pool.take().unwrap()).collect();
    // SAFETY: the child runs on with this thread alone, which holds no lock.
    let child = unsafe { libc::fork() };
    if child == 0 {
        kept.into_iter().for_each(|stack| pool.put(stack));
        install_overflow_handler();
        let fiber = Fiber::new(pool.take().unwrap(), || {
            recurse(0);
        });
        let _ = fiber.resume();
    }
    let mut status = 0;
    // SAFETY: the child just made, and a place for its status.
    unsafe { libc::waitpid(child, &raw mut status, 0) };
    assert!(libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGABRT);
}

/// Runs as a test in the parent too, where it does nothing.
#[test]
fn child() {
    if std::env::var_os(OLD_KERNEL).is_some() {
        become_an_old_kernel();
        assert!(!kernel_has_guards());
    }
    match std::env::var(CASE).as_deref() {
        Err(_) => {}
        Ok("count") => count(),
        Ok("exhaust") => exhaust(),
        Ok("overflow") => overflow(),
        Ok("overflow after fork") => overflow_after_fork(),
        Ok(case) => panic!("no case {case}"),
    }
}

/// In this kernel, and in one that is too old for guards without a mapping of their own.
fn run(case: &str, is_right: impl Fn(&std::process::Output, &str) -> bool) {
    for is_old in [false, true] {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "child", "--nocapture", "--test-threads=1"]);
        command.env(CASE, case);
        if is_old {
            command.env(OLD_KERNEL, "1");
        }
        let output = command.output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            is_right(&output, &text),
            "{case}, old kernel {is_old}: {text}"
        );
    }
}

#[test]
fn many_stacks_take_few_mappings_and_give_them_back() {
    run("count", |output, _| output.status.success());
}

#[test]
fn stacks_leave_mappings_to_others() {
    run("exhaust", |output, _| output.status.success());
}

#[test]
fn an_overflow_is_reported_from_the_midst_of_many_stacks() {
    run("overflow", |output, text| {
        !output.status.success() && text.contains("stack overflow: fiber stack of pool 'jobs'")
    });
}

#[test]
fn an_overflow_is_reported_in_a_forked_child() {
    run("overflow after fork", |output, text| {
        output.status.success() && text.contains("stack overflow: fiber stack of pool 'jobs'")
    });
}
