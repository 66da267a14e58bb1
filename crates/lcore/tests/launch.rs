//! Pinned threads: which cores, which errors.

use spinlane_lcore::{Config, LaunchError, Lcore, launch};

/// Cores that this process may use.
fn usable() -> Vec<usize> {
    let ids = core_affinity::get_core_ids().unwrap();
    ids.into_iter().map(|id| id.id).collect()
}

/// Cores that the calling thread may run on.
fn allowed() -> Vec<usize> {
    // SAFETY: a set of zeros is an empty set, and the call writes no more than its size.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        assert_eq!(
            libc::sched_getaffinity(0, size_of_val(&set), &raw mut set),
            0
        );
        (0..libc::CPU_SETSIZE as usize)
            .filter(|&core| libc::CPU_ISSET(core, &set))
            .collect()
    }
}

fn error(cores: &[usize]) -> LaunchError {
    match launch(cores, Config::default(), |_, _| panic!("must not run")) {
        Ok(_) => panic!("launched on {cores:?}"),
        Err(error) => error,
    }
}

#[test]
fn each_core_has_one_thread_pinned_to_it_with_an_lcore_and_nothing_ambient() {
    let cores: Vec<usize> = usable().into_iter().take(4).collect();
    let launched = launch(&cores, Config::default(), |core, lcore: &Lcore| {
        assert!(Lcore::current().is_none());
        lcore.poll().unwrap();
        let name = std::thread::current().name().map(str::to_owned);
        (core, allowed(), name, lcore.stats().iterations)
    })
    .unwrap();
    let results = launched.join().unwrap();
    assert_eq!(results.len(), cores.len());
    for (result, core) in results.into_iter().zip(cores) {
        assert_eq!(result, (core, vec![core], Some(format!("lcore-{core}")), 1));
    }
}

#[test]
fn no_core_is_an_error() {
    let error = error(&[]);
    assert!(matches!(error, LaunchError::NoCore));
    assert!(error.to_string().contains("name at least one"));
}

#[test]
fn a_core_that_does_not_exist_is_an_error_that_lists_those_that_do() {
    let error = error(&[usable()[0], 4096]);
    let LaunchError::NoSuchCore {
        core: 4096,
        usable: listed,
    } = &error
    else {
        panic!("{error}");
    };
    assert_eq!(*listed, usable());
    assert!(error.to_string().contains("core 4096"), "{error}");
}

#[test]
fn a_core_named_twice_is_an_error_that_names_it() {
    let core = usable()[0];
    let error = error(&[core, core]);
    assert!(matches!(error, LaunchError::Twice { .. }));
    assert!(
        error
            .to_string()
            .contains(&format!("core {core} is named twice"))
    );
}

#[test]
fn a_panic_of_an_lcores_function_comes_out_of_join() {
    let launched = launch(&usable()[..1], Config::default(), |_, _| {
        std::panic::resume_unwind(Box::new(42u8));
    })
    .unwrap();
    let joined = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| launched.join().is_ok()));
    assert_eq!(joined.unwrap_err().downcast_ref::<u8>(), Some(&42));
}
