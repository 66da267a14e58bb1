//! What is left of a fiber on its stack, and what looking for it costs.

use std::hint::black_box;

use spinlane_fiber::{Fiber, PoolConfig, StackPool, State, suspend};

const PAGE: usize = 4096;
const PAGES: usize = 100;
const SECRET: u64 = 0x5ec2_e75e_c2e7_5ec2;

fn pool() -> StackPool {
    StackPool::new(PoolConfig {
        name: "wiped",
        stack_size: PAGES * PAGE,
        ..PoolConfig::default()
    })
}

/// Fills a frame of so many pages down to the last byte, then skips as many below and writes there.
#[inline(never)]
fn fill<const WORDS: usize>(skipped: usize) {
    let mut frame = [SECRET; WORDS];
    black_box(&mut frame);
    match skipped {
        0 => {}
        1..=8 => skip::<{ 8 * PAGE }>(),
        _ => skip::<{ 40 * PAGE }>(),
    }
    black_box(&mut frame);
}

/// A frame that is reserved and never written, as C code has them.
#[inline(never)]
fn skip<const BYTES: usize>() {
    let mut gap = std::mem::MaybeUninit::<[u8; BYTES]>::uninit();
    black_box(&mut gap);
    fill::<8>(0);
    black_box(&mut gap);
}

/// Runs `body` on a stack of the pool, wipes that and gives it back; returns where it lies.
fn run(pool: &mut StackPool, body: impl FnOnce() + 'static) -> Area {
    let fiber = Fiber::new(pool.take().unwrap(), body);
    let area = Area::below(fiber.record().addr());
    let mut stack = match fiber.resume() {
        State::Returned => fiber.into_stack().unwrap(),
        // SAFETY: its frames hold plain bytes.
        State::Suspended => unsafe { fiber.abandon() },
    };
    stack.wipe();
    pool.put(stack);
    area
}

/// A stack as the kernel has it.
struct Area {
    bottom: usize,
}

impl Area {
    /// The stack whose fiber has its record there, at the very top.
    fn below(record: usize) -> Self {
        Self {
            bottom: record.next_multiple_of(PAGE) - PAGES * PAGE,
        }
    }

    /// Pages of it that are in memory, by mincore(2).
    fn resident(&self) -> usize {
        let mut states = [0u8; PAGES];
        // SAFETY: a mapped range, and a byte for each of its pages.
        let result = unsafe {
            libc::mincore(
                self.bottom as *mut libc::c_void,
                PAGES * PAGE,
                states.as_mut_ptr(),
            )
        };
        assert_eq!(result, 0);
        states.iter().filter(|state| *state & 1 != 0).count()
    }

    /// Bytes of it that are not zero.
    fn left(&self) -> usize {
        let bytes = std::ptr::with_exposed_provenance::<u8>(self.bottom);
        // SAFETY: mapped and readable; no fiber is on it.
        let read = |at| unsafe { bytes.add(at).read_volatile() };
        (0..PAGES * PAGE).filter(|at| read(*at) != 0).count()
    }

    fn has_flag(&self, flag: &str) -> bool {
        let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let mut ours = false;
        for line in maps.lines() {
            if let Some((from, to)) = line
                .split_once(' ')
                .and_then(|(range, _)| range.split_once('-'))
                && let (Ok(from), Ok(to)) = (
                    usize::from_str_radix(from, 16),
                    usize::from_str_radix(to, 16),
                )
            {
                ours = (from..to).contains(&self.bottom);
            }
            if ours && let Some(flags) = line.strip_prefix("VmFlags:") {
                return flags.split_whitespace().any(|has| has == flag);
            }
        }
        panic!("no mapping at {:x} in\n{maps}", self.bottom);
    }
}

#[test]
fn nothing_is_left_of_a_body_that_returned() {
    let mut pool = pool();
    for _ in 0..3 {
        assert_eq!(run(&mut pool, || fill::<1000>(0)).left(), 0);
    }
}

#[test]
fn nothing_is_left_of_a_body_that_was_abandoned() {
    let mut pool = pool();
    let abandoned = || {
        let mut frame = [SECRET; 1000];
        black_box(&mut frame);
        suspend().unwrap();
        black_box(&mut frame);
    };
    for _ in 0..3 {
        assert_eq!(run(&mut pool, abandoned).left(), 0);
    }
}

/// The pool has learnt a small depth; deeper frames begin right below it.
#[test]
fn nothing_is_left_of_a_body_that_went_deeper_than_those_before() {
    let mut pool = pool();
    for _ in 0..10 {
        run(&mut pool, || fill::<1000>(0));
    }
    assert_eq!(run(&mut pool, || fill::<{ 60 * PAGE / 8 }>(0)).left(), 0);
    assert_eq!(run(&mut pool, || fill::<1500>(9)).left(), 0);
}

/// Pages without a word in them hide what is below from nobody once the pool has seen one such body.
#[test]
fn nothing_is_left_below_pages_that_were_skipped() {
    let mut pool = pool();
    for skipped in [9, 9, 1, 9] {
        assert_eq!(run(&mut pool, move || fill::<1000>(skipped)).left(), 0);
    }
}

/// What the pool has not learnt is found by the wipe that looks everywhere, which comes in time.
#[test]
fn what_a_wipe_missed_is_found_by_a_later_one() {
    let mut pool = pool();
    run(&mut pool, || fill::<8>(0));
    run(&mut pool, || fill::<8>(9));
    let mut left = 0;
    for _ in 0..256 {
        left = run(&mut pool, || fill::<8>(0)).left();
    }
    assert_eq!(left, 0);
}

#[test]
fn a_wipe_touches_one_page_at_most_that_the_body_did_not() {
    let mut pool = pool();
    let mut resident = 0;
    for _ in 0..300 {
        resident = run(&mut pool, || fill::<1000>(0)).resident();
    }
    // AddressSanitizer makes frames larger.
    let used = if cfg!(spinlane_asan) { 8 } else { 4 };
    assert!(resident <= used + 1, "{resident}");
}

#[test]
fn a_stack_of_a_small_body_is_wiped_no_deeper_for_one_that_went_deep_long_ago() {
    let mut pool = pool();
    run(&mut pool, || fill::<{ 60 * PAGE / 8 }>(0));
    for _ in 0..600 {
        run(&mut pool, || fill::<8>(0));
    }
    let other = pool.take().unwrap();
    let fresh = run(&mut pool, || fill::<8>(0));
    assert!(fresh.resident() <= 10, "{}", fresh.resident());
    pool.put(other);
}

/// Runs `body` on a stack of the pool and gives that back, to be wiped later if `soils`.
fn run_and_leave(pool: &mut StackPool, soils: bool, body: fn()) -> Area {
    let fiber = Fiber::new(pool.take().unwrap(), body);
    let area = Area::below(fiber.record().addr());
    assert_eq!(fiber.resume(), State::Returned);
    let mut stack = fiber.into_stack().unwrap();
    if soils {
        stack.soil();
    }
    pool.put(stack);
    area
}

#[test]
#[cfg_attr(
    spinlane_asan,
    ignore = "AddressSanitizer keeps frames elsewhere, and forbids to look at them"
)]
fn a_stack_that_is_soiled_is_wiped_with_its_pool_whoever_had_it_since() {
    let mut pool = pool();
    let clean = pool.take().unwrap();
    let soiled = run_and_leave(&mut pool, true, || fill::<1000>(0));
    assert!(soiled.left() > 4000);
    let again = run_and_leave(&mut pool, false, || fill::<8>(0));
    assert_eq!(again.bottom, soiled.bottom);
    pool.put(clean);
    let other = run_and_leave(&mut pool, false, || fill::<1000>(0));
    assert_ne!(other.bottom, soiled.bottom);
    pool.wipe_soiled();
    assert_eq!(soiled.left(), 0);
    assert!(other.left() > 4000, "nobody asked for it");
    assert!(!pool.take().unwrap().is_soiled());
}

#[test]
fn a_stack_that_is_wiped_is_soiled_no_more() {
    let mut pool = pool();
    let mut stack = pool.take().unwrap();
    stack.soil();
    stack.wipe();
    assert!(!stack.is_soiled());
}

#[test]
fn stacks_are_kept_out_of_core_dumps() {
    assert!(run(&mut pool(), || fill::<8>(0)).has_flag("dd"));
}
