//! The embedding example serves curl, on lcores that DPDK launches, over a port and a crypto device of its own.
#![cfg(feature = "dpdk")]

#[path = "../../dpdk/tests/support/cable.rs"]
#[allow(dead_code, reason = "others run more in it")]
mod cable;

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use cable::Cable;

/// The example, built by cargo in this test's own profile, as it is not where one test alone is asked for.
fn example() -> PathBuf {
    // <target>/<profile>/deps/<this test>
    let test = std::env::current_exe().unwrap();
    let output = test.ancestors().nth(2).unwrap();
    let profile = match output.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => "dev",
        Some(profile) => profile,
    };
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--quiet", "--example", "pipeline"]);
    cargo.args(["--features", "dpdk", "--profile", profile, "--target-dir"]);
    cargo.arg(output.parent().unwrap());
    let built = cargo.current_dir(env!("CARGO_MANIFEST_DIR")).status();
    assert!(built.unwrap().success(), "{cargo:?}");
    output.join("examples/pipeline")
}

/// A certificate for 10.77.0.2 and its key.
fn identity() -> [PathBuf; 2] {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let [cert, key] = ["pipeline.crt", "pipeline.key"].map(|name| folder.join(name));
    let mut openssl = Command::new("openssl");
    openssl.args([
        "req", "-x509", "-nodes", "-days", "2", "-newkey", "rsa:2048",
    ]);
    openssl.args([
        "-subj",
        "/CN=pipeline",
        "-addext",
        "subjectAltName=IP:10.77.0.2",
    ]);
    openssl.args(["-addext", "basicConstraints=critical,CA:FALSE"]);
    openssl.arg("-out").arg(&cert).arg("-keyout").arg(&key);
    let made = openssl.output().unwrap();
    assert!(made.status.success(), "{made:?}");
    [cert, key]
}

const CLIENTS: u64 = 24;

#[test]
fn a_dpdk_application_embeds_us_and_serves_curl() {
    let Some(cable) = Cable::new("a_dpdk_application_embeds_us_and_serves_curl", 81) else {
        return;
    };
    let [cert, key] = identity();
    let mut server = Command::new(example());
    server
        .args([&cable.ours, "10.77.0.2/24"])
        .arg(&cert)
        .arg(&key);
    server.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut server = server.spawn().unwrap();
    let mut said = BufReader::new(server.stdout.take().unwrap());
    let mut line = String::new();
    while !line.contains("serving on") {
        line.clear();
        assert!(
            said.read_line(&mut line).unwrap() > 0,
            "it ended: {:?}",
            server.wait()
        );
    }
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let mut curl = cable.command("curl");
            curl.args(["-sS", "--max-time", "100", "--cacert"])
                .arg(&cert);
            curl.arg("https://10.77.0.2/").stdout(Stdio::piped());
            curl.spawn().unwrap()
        })
        .collect();
    for client in clients {
        let output = client.wait_with_output().unwrap();
        assert_eq!(output.stdout, b"hello", "{output:?}");
    }
    drop(server.stdin.take());
    let mut report = String::new();
    said.read_to_string(&mut report).unwrap();
    assert!(server.wait().unwrap().success(), "{report}");
    // "lcore 0: 11 served, 11 signed by the device"
    let numbers = |line: &str| -> Vec<u64> {
        let words = line.split(' ').filter_map(|word| word.parse().ok());
        words.collect()
    };
    let lcores: Vec<_> = report
        .lines()
        .filter(|line| line.starts_with("lcore "))
        .map(numbers)
        .collect();
    assert_eq!(lcores.len(), 2, "{report}");
    let sum = |at: usize| lcores.iter().map(|lcore| lcore[at]).sum::<u64>();
    assert_eq!((sum(0), sum(1)), (CLIENTS, CLIENTS), "{report}");
    assert!(lcores.iter().all(|lcore| lcore[0] > 0), "{report}");
}
