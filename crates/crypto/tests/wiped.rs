//! What is left of values that are wiped as a whole.

use std::mem::MaybeUninit;

use spinlane_crypto::{Erased, Wiped};

/// As a mixed bag: a short variant beside a long one, and bytes between fields.
#[expect(dead_code, reason = "their bytes matter")]
enum Either {
    Short(u8, u64),
    Long(Wiped<200>),
}

const SIZE: usize = size_of::<Erased<Either>>();

/// Bytes that are not zero after `either` has come and gone in memory full of other bytes.
fn left(either: Either) -> usize {
    let mut place = MaybeUninit::<Erased<Either>>::uninit();
    // SAFETY: any bytes will do for what is uninitialised.
    unsafe { place.as_mut_ptr().cast::<u8>().write_bytes(0x5a, SIZE) };
    place.write(Erased::new(either));
    // SAFETY: just written, and not used again.
    unsafe { place.assume_init_drop() };
    // SAFETY: wiped: all of it is initialised.
    let bytes = unsafe { place.as_ptr().cast::<[u8; SIZE]>().read() };
    bytes.iter().filter(|byte| **byte != 0).count()
}

#[test]
fn an_erased_value_leaves_nothing_whichever_it_was() {
    assert_eq!(left(Either::Short(7, 8)), 0);
    assert_eq!(left(Either::Long(Wiped::new([9; 200]))), 0);
}

#[test]
fn an_erased_value_is_dropped_once() {
    struct Counts<'a>(&'a std::cell::Cell<u32>);
    impl Drop for Counts<'_> {
        fn drop(&mut self) {
            self.0.set(self.0.get() + 1);
        }
    }
    let count = std::cell::Cell::new(0);
    let boxed: Box<Erased<Option<Counts>>> = Box::new(Erased::new(Some(Counts(&count))));
    assert!(boxed.is_some());
    drop(boxed);
    assert_eq!(count.get(), 1);
}
