//! `spinlane sim` as a program: what it prints, and what it says about mistakes.

#![forbid(unsafe_code)]

use std::process::Command;

use serde_json::Value;
use spinlane_tests::program::{run, spinlane};

/// Standard output, standard error, and whether it ended well.
fn sim(args: &[&str]) -> (String, String, bool) {
    let output = run(Command::new(spinlane()).arg("sim").args(args), b"");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (
        text(&output.stdout),
        text(&output.stderr),
        output.status.success(),
    )
}

fn report(seeds: &str) -> Value {
    report_with(&["--seeds", seeds, "--json"])
}

fn report_with(args: &[&str]) -> Value {
    let (stdout, stderr, ok) = sim(args);
    assert!(ok, "{stderr}\n{stdout}");
    serde_json::from_str(&stdout).unwrap()
}

#[test]
fn a_range_is_reported_as_json_and_alike_each_time() {
    let first = report("1000..1100");
    assert_eq!(
        (&first["failed"], &first["tally"]["seeds"]),
        (&0.into(), &100.into())
    );
    let breaches = first["breaches"].as_object().unwrap();
    assert!(breaches.len() > 5 && breaches.values().all(|count| *count == 0));
    assert!(first["tally"]["ops"].as_u64() > Some(1000));
    assert!(first["ops_per_s"].as_f64() > Some(0.0));
    assert_eq!(report("1000..1100")["tally"], first["tally"]);
    assert_ne!(
        report("1100..1200")["tally"]["hash"],
        first["tally"]["hash"]
    );
}

#[test]
fn connections_on_a_wire_are_reported_alike_each_time() {
    let report = |seeds| report_with(&["--net", "--seeds", seeds, "--json"]);
    let first = report("1000..1100");
    assert_eq!(first["tally"]["seeds"], 100, "{first}");
    assert!(first["tally"]["retransmissions"].as_u64() > Some(100));
    let breaches = first["breaches"].as_object().unwrap();
    assert!(breaches.len() == 7 && breaches.values().all(|count| *count == 0));
    assert_eq!(report("1000..1100")["tally"], first["tally"]);
    assert_ne!(
        report("1100..1200")["tally"]["hash"],
        first["tally"]["hash"]
    );
}

#[test]
fn a_single_seed_can_be_watched() {
    let (stdout, stderr, ok) = sim(&["--seeds", "7..8", "--trace"]);
    assert!(ok, "{stderr}");
    for word in [
        "seed 7:",
        "accepted",
        "callback",
        "answer",
        "seeds 7..8: 0 failed",
    ] {
        assert!(stdout.contains(word), "{word} in {stdout}");
    }
}

#[test]
fn what_is_no_range_is_explained() {
    for range in ["5", "7..7", "9..3", "a..b", "-1..2"] {
        let (_, stderr, ok) = sim(&["--seeds", range]);
        assert!(
            !ok && stderr.contains("write e.g. 0..1000") || stderr.contains("unexpected argument"),
            "{range}: {stderr}"
        );
    }
}
