//! After warm-up a record allocates nothing, on either side, in any suite.

mod support;

use allocation_counter::measure;
use spinlane_rustls::{Connection, Progress};

use support::stock::{suites, version};
use support::{Ends, Wanted, carry, lcore};

/// A text through the output, and one through memory of the caller's.
fn exchange(from: &mut Connection, to: &mut Connection, text: &[u8], memory: &mut [u8]) {
    let whole = Ok(Progress::Done(text.len()));
    assert_eq!(from.write(text), whole);
    carry(from, to);
    assert_eq!(to.read_with(|got| got.len()), whole);
    let (done, filled) = from.write_into(text, memory).unwrap();
    assert_eq!(Ok(done), whole);
    assert_eq!(to.push_input(&memory[..filled]), filled);
    assert_eq!(to.read_with(|got| got.len()), whole);
}

#[test]
fn nothing_is_allocated_per_record_after_warm_up() {
    let lcore = lcore(64);
    let (text, mut memory) = (vec![7; 16 * 1024], vec![0; 17 * 1024]);
    for (suite, key) in suites() {
        let wanted = Wanted {
            key,
            version: version(suite),
            suite: Some(suite),
            ..Wanted::default()
        };
        let mut ends = wanted.ends(&lcore);
        ends.establish(&lcore).unwrap();
        let Ends { client, server } = &mut ends;
        let mut turn = || {
            exchange(client, server, &text, &mut memory);
            exchange(server, client, &text[..99], &mut memory);
        };
        turn();
        let allocated = measure(|| (0..100).for_each(|_| turn()));
        assert_eq!(allocated.count_total, 0, "{:?}", suite.suite());
    }
}
