//! `spinlane proxy --port`: TLS ended on packets, by our own TCP/IP stack on a port of DPDK's (`net_af_packet` on one end of a virtual cable),
//! with curl, openssl and wget on the kernel's TCP at the other end.
//!
//! That all else is as on sockets is what `tools/test_packets.sh` shows: it runs the tests of the proxy on sockets over packets.

#[path = "../../crates/dpdk/tests/support/cable.rs"]
#[expect(dead_code, reason = "the tests of ports use more of it")]
mod cable;

use std::io::{Read, Write};
use std::process::{Command, Stdio};

use cable::Cable;
use spinlane_tests::program::{TempDir, has, run, spinlane};
use spinlane_tests::proxy::{Ended, Proxy};

const IPS: [&str; 2] = ["10.77.0.2", "[fd77::2]"];

/// A cable for `test`; `None`, having said why, if this build or process cannot have one.
fn cable(test: &str, number: u32) -> Option<Cable> {
    if !cfg!(feature = "dpdk") {
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED {test}: built without the feature dpdk; `make test` turns it on where DPDK is"
        );
        return None;
    }
    Cable::new(test, number)
}

/// A proxy on our end.
fn proxy(cable: &Cable, args: &[&str]) -> Proxy {
    let port = format!("net_af_packet0,iface={}", cable.ours);
    proxy_on(&port, args)
}

fn proxy_on(port: &str, args: &[&str]) -> Proxy {
    let network = [
        "--port",
        port,
        "--ip",
        "10.77.0.2/24",
        "--ip",
        "fd77::2/64",
        "--listen",
        "[::]:443",
    ];
    Proxy::start_over(&network, args)
}

/// What `program` says at the far end.
fn far(cable: &Cable, program: &str, args: &[&str], input: &[u8]) -> String {
    let output = run(cable.command(program).args(args), input);
    let said = [&output.stdout[..], &output.stderr[..]].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(output.status.success(), "{program} {args:?}: {said}");
    said
}

/// No frame was dropped that a well-behaved peer sends.
fn assert_clean(ended: &Ended) {
    let line = ended
        .stdout
        .lines()
        .rev()
        .find(|line| line.contains("packets  "));
    let line = line.unwrap_or_else(|| panic!("no packets in {}", ended.stdout));
    for reason in [
        "checksum",
        "short",
        "bad_segment",
        "bad_ip",
        "bad_flags",
        "port_full",
        "no_packet",
    ] {
        assert!(!line.contains(reason), "{line}");
    }
}

#[test]
fn curl_openssl_and_wget_are_served_over_both_families() {
    let Some(cable) = cable("curl_openssl_and_wget_are_served_over_both_families", 40) else {
        return;
    };
    for tls in ["rustls", "openssl"] {
        let proxy = proxy(&cable, &["--tls", tls]);
        for ip in IPS {
            let url = format!("https://{ip}/");
            for versions in [["--tls-max", "1.2"], ["--tlsv1.3", "--http1.1"]] {
                let args = [
                    &["-k", "-sS", "-g", "--max-time", "60", &url][..],
                    &versions,
                ]
                .concat();
                assert_eq!(far(&cable, "curl", &args, b""), "hello from spinlane\n");
            }
            let server = format!("{ip}:443");
            let request = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
            for version in ["-tls1_2", "-tls1_3"] {
                let args = ["s_client", "-connect", &server, "-ign_eof", version];
                let said = far(&cable, "openssl", &args, request);
                assert!(said.contains("hello from spinlane"), "{said}");
            }
            let args = [
                "-q",
                "-O",
                "-",
                "--no-check-certificate",
                "-T",
                "60",
                "-t",
                "1",
                &url,
            ];
            assert_eq!(far(&cable, "wget", &args, b""), "hello from spinlane\n");
        }
        let ended = proxy.stop();
        assert_eq!(ended.count("handshakes ("), 10, "{}", ended.stdout);
        assert_eq!(ended.closed("finished"), 10, "{}", ended.stdout);
        assert_clean(&ended);
    }
}

/// Python at the far end: says its port, then serves one connection after the other.
const ECHO: &str = "import socket,sys,threading\n\
    f = socket.AF_INET6 if ':' in sys.argv[1] else socket.AF_INET\n\
    s = socket.create_server((sys.argv[1], 0), family=f, backlog=100)\n\
    print(s.getsockname()[1], flush=True)\n\
    def serve(c):\n\
    \x20   while True:\n\
    \x20       d = c.recv(65536)\n\
    \x20       if not d: break\n\
    \x20       c.sendall(d)\n\
    \x20   c.shutdown(socket.SHUT_WR)\n\
    \x20   c.close()\n\
    while True:\n\
    \x20   c, _ = s.accept()\n\
    \x20   threading.Thread(target=serve, args=(c,), daemon=True).start()\n";

/// A TLS client in Python: sends so many bytes while it reads as many, compares their digests, and says so. (One thread: a TLS
/// connection of Python's is not for two before 3.13.)
const CLIENT: &str = "import hashlib,select,socket,ssl,sys\n\
    host, port, size, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])\n\
    ctx = ssl.create_default_context(); ctx.check_hostname = False; ctx.verify_mode = ssl.CERT_NONE\n\
    block = bytes((i * 2654435761 >> 13) & 255 for i in range(65536))\n\
    later = (ssl.SSLWantReadError, ssl.SSLWantWriteError)\n\
    for _ in range(count):\n\
    \x20   raw = socket.create_connection((host, port), timeout=100)\n\
    \x20   c = ctx.wrap_socket(raw); c.setblocking(False)\n\
    \x20   sent, got, out, left = hashlib.sha256(), hashlib.sha256(), size, size\n\
    \x20   while left:\n\
    \x20       assert any(select.select([c], [c] if out else [], [], 100)), 'stalled'\n\
    \x20       try:\n\
    \x20           while out: n = c.send(block[:out]); sent.update(block[:n]); out -= n\n\
    \x20       except later: pass\n\
    \x20       try:\n\
    \x20           while left: part = c.recv(65536); assert part, 'cut short'; got.update(part); left -= len(part)\n\
    \x20       except later: pass\n\
    \x20   assert sent.digest() == got.digest()\n\
    \x20   c.setblocking(True); c.unwrap(); c.close()\n\
    print('equal')\n";

/// A Python program at the far end, and the first line that it says.
struct Far(std::process::Child, String);

impl Far {
    fn new(cable: &Cable, script: &str, args: &[&str]) -> Self {
        let mut command = cable.command("python3");
        let command = command
            .args(["-c", script])
            .args(args)
            .stdout(Stdio::piped());
        let mut child = command.spawn().expect("python3 runs");
        let (mut line, mut byte) = (String::new(), [0]);
        let stdout = child.stdout.as_mut().expect("piped");
        while stdout.read(&mut byte).expect("a pipe") == 1 && byte != *b"\n" {
            line.push(byte[0].into());
        }
        Self(child, line)
    }
}

impl Drop for Far {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// 40 MB each way, client and backend both at the far end: the backend is connected to by the same stack, over the same port.
#[test]
fn a_backend_is_connected_to_by_the_same_stack() {
    let Some(cable) = cable("a_backend_is_connected_to_by_the_same_stack", 41) else {
        return;
    };
    for (ip, far_ip) in [("10.77.0.2", "10.77.0.1"), ("fd77::2", "fd77::1")] {
        let backend = Far::new(&cable, ECHO, &[far_ip]);
        let address =
            std::net::SocketAddr::new(far_ip.parse().unwrap(), backend.1.parse().unwrap());
        let proxy = proxy(&cable, &["--backend", &address.to_string()]);
        let args = ["-c", CLIENT, ip, "443", "40000000", "1"];
        assert_eq!(far(&cable, "python3", &args, b""), "equal\n");
        let args = ["-c", CLIENT, ip, "443", "1000", "20"];
        assert_eq!(far(&cable, "python3", &args, b""), "equal\n");
        let ended = proxy.stop();
        assert_eq!(ended.count("backend connections"), 21, "{}", ended.stdout);
        assert_eq!(ended.closed("finished"), 21, "{}", ended.stdout);
        assert_clean(&ended);
    }
}

/// nginx as the backend, over the same stack: 100 MB out and back in have the hash that they had, by TLS 1.2 and 1.3.
#[test]
fn nginx_behind_gives_and_takes_100_megabytes() {
    const TEST: &str = "nginx_behind_gives_and_takes_100_megabytes";
    let Some(cable) = cable(TEST, 46).filter(|_| has("nginx")) else {
        return;
    };
    let dir = TempDir::new();
    let path = |name: &str| dir.path(name).to_string_lossy().into_owned();
    let bytes: Vec<u8> = (0..12_500_000_u64)
        .flat_map(|at| at.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes())
        .collect();
    dir.file("big", &bytes);
    let file = format!(
        "daemon off; master_process off; pid {0}/pid; user root;\nevents {{ }}\nhttp {{ access_log off; client_max_body_size 200m;\n\
         client_body_temp_path {0}; proxy_temp_path {0}; fastcgi_temp_path {0}; uwsgi_temp_path {0}; scgi_temp_path {0};\n\
         server {{ listen 10.77.0.1:8080; root {0}; dav_methods PUT; }} }}\n",
        path("")
    );
    let file = dir.file("nginx.conf", file.as_bytes());
    let mut nginx = cable.command("nginx");
    let nginx = nginx.args(["-e", "stderr", "-c"]).arg(file).spawn();
    let _nginx = Far(nginx.expect("nginx runs"), String::new());
    // Until it listens.
    let args = [
        "-sS",
        "--retry-connrefused",
        "--retry",
        "100",
        "--retry-delay",
        "1",
    ];
    far(
        &cable,
        "curl",
        &[&args[..], &["-I", "http://10.77.0.1:8080/big"]].concat(),
        b"",
    );
    let hash = |name: &str| {
        let said = run(Command::new("sha256sum").arg(path(name)), b"").stdout;
        String::from_utf8_lossy(&said[..64]).into_owned()
    };
    let proxy = proxy(&cable, &["--backend", "10.77.0.1:8080"]);
    for version in ["1.2", "1.3"] {
        let (down, up) = (path("down"), format!("https://10.77.0.2/up{version}"));
        let tls = ["-k", "-sSf", "--max-time", "200", "--tls-max", version];
        let get = ["-o", &down, "https://10.77.0.2/big"];
        far(&cable, "curl", &[&tls[..], &get[..]].concat(), b"");
        far(
            &cable,
            "curl",
            &[&tls[..], &["-T", &down, &up]].concat(),
            b"",
        );
        assert_eq!(hash("down"), hash("big"), "{version}");
        assert_eq!(hash(&format!("up{version}")), hash("big"), "{version}");
    }
    let ended = proxy.stop();
    assert_eq!(ended.closed("finished"), 4, "{}", ended.stdout);
    assert_clean(&ended);
}

/// Nobody listens there; nobody is there at all; and no network of ours leads there.
#[test]
fn a_backend_that_cannot_be_reached_is_named() {
    let Some(cable) = cable("a_backend_that_cannot_be_reached_is_named", 42) else {
        return;
    };
    for (backend, why) in [
        ("10.77.0.1:1", "refused"),
        ("10.77.0.99:1", "10.77.0.99:1"),
        ("192.0.2.1:1", "no gateway"),
    ] {
        let proxy = proxy(&cable, &["--backend", backend]);
        let args = ["-k", "-sS", "--max-time", "60", "https://10.77.0.2/"];
        let output = run(cable.command("curl").args(args), b"");
        assert!(!output.status.success());
        let ended = proxy.stop();
        assert_eq!(ended.closed("backend unreachable"), 1, "{}", ended.stdout);
        assert!(ended.stderr.contains(why), "{backend}: {}", ended.stderr);
    }
}

/// Two cores, each with a queue pair and a stack, serve an address together. What they connect to answers to whichever queue the port
/// likes, so that frames change cores.
#[test]
fn two_cores_share_a_port_and_its_backends() {
    let test = "two_cores_share_a_port_and_its_backends";
    let (Some(cable), Some([one, other])) = (cable(test, 43), spinlane_tests::program::two_cores())
    else {
        return;
    };
    let port = format!("net_af_packet0,iface={},qpairs=2", cable.ours);
    let backend = Far::new(&cable, ECHO, &["10.77.0.1"]);
    let backend = format!("10.77.0.1:{}", backend.1);
    let proxy = proxy_on(
        &port,
        &["--cores", &format!("{one},{other}"), "--backend", &backend],
    );
    let args = ["-c", CLIENT, "10.77.0.2", "443", "100000", "40"];
    assert_eq!(far(&cable, "python3", &args, b""), "equal\n");
    let ended = proxy.stop();
    assert_eq!(ended.closed("finished"), 40, "{}", ended.stdout);
    assert_clean(&ended);
    for core in [one, other] {
        let report = ended
            .stdout
            .split(&format!("core {core}: "))
            .last()
            .unwrap();
        assert!(
            !report.contains(" 0 accepted"),
            "core {core} has served nobody: {}",
            ended.stdout
        );
    }
    let handed = ended.stdout.split(" to other cores").filter_map(|before| {
        let number = before.rsplit(' ').next()?;
        number.parse::<u64>().ok()
    });
    assert!(
        handed.sum::<u64>() > 0,
        "no frame changed cores: {}",
        ended.stdout
    );
}

/// The program says `words` when it is started so, and does not start.
fn complains(args: &[&str], words: &[&str]) {
    let output = run(Command::new(spinlane()).arg("proxy").args(args), b"");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "{args:?}: {said}");
    for word in words {
        assert!(said.contains(word), "{args:?} lacks {word:?}: {said}");
    }
}

#[test]
fn mistakes_at_the_start_are_named_with_their_remedy() {
    let Some(cable) = cable("mistakes_at_the_start_are_named_with_their_remedy", 44) else {
        return;
    };
    let port = format!("net_af_packet0,iface={}", cable.ours);
    let with =
        |more: &[&'static str]| [&["--port", &port, "--ip", "10.77.0.2/24"][..], more].concat();
    complains(&["--port", &port], &["--ip"]);
    complains(&["--ip", "10.77.0.2/24"], &["--port"]);
    complains(
        &["--port", "eth0", "--ip", "10.77.0.2/24"],
        &["--port eth0", "iface=eth1"],
    );
    complains(
        &["--port", "net_nothing0", "--ip", "10.77.0.2/24"],
        &["net_nothing0", "no driver", "check the name"],
    );
    complains(
        &[
            "--port",
            "net_af_packet0,iface=sl-none",
            "--ip",
            "10.77.0.2/24",
        ],
        &["sl-none", "check that the interface exists"],
    );
    complains(
        &["--port", &port, "--ip", "10.77.0.2"],
        &["10.77.0.2", "10.0.0.2/24"],
    );
    complains(
        &["--port", &port, "--ip", "10.77.0.2/33"],
        &["10.77.0.2/33", "at most 32"],
    );
    complains(
        &["--port", &port, "--ip", "224.0.0.1/24"],
        &["224.0.0.1", "no station"],
    );
    complains(&with(&["--ip", "10.77.0.2/24"]), &["10.77.0.2", "twice"]);
    complains(
        &with(&["--gateway", "10.78.0.1"]),
        &["10.78.0.1", "on no network"],
    );
    complains(
        &with(&["--gateway", "10.77.0.1", "--gateway", "10.77.0.3"]),
        &["10.77.0.3", "second gateway"],
    );
    complains(
        &with(&["--mac", "01:00:00:00:00:01"]),
        &["01:00:00:00:00:01", "group"],
    );
    complains(&with(&["--mac", "x"]), &["--mac", "02:00:00:00:00:01"]);
    complains(
        &with(&["--listen", "10.77.0.9:443"]),
        &["--listen 10.77.0.9:443", "one of its own"],
    );
    complains(
        &with(&["--listen", "10.77.0.2:0"]),
        &["port 0", "name a port"],
    );
    complains(&with(&["--eal=-m4"]), &["no memory", "--port-memory"]);
    let cores = spinlane_tests::program::cores();
    if let [one, other, ..] = cores[..] {
        let cores = format!("{one},{other}");
        let args = ["--port", &port, "--ip", "10.77.0.2/24", "--cores", &cores];
        complains(&args, &["1 queue pairs, and 2 are wanted", "qpairs"]);
    }
    let set = |args: &[&str]| assert!(run(Command::new("ip").args(args), b"").status.success());
    set(&["link", "set", "dev", &cable.ours, "mtu", "1279"]);
    complains(
        &with(&["--ip", "fd77::2/64"]),
        &["fd77::2 needs 1280", "raise its MTU"],
    );
    set(&["link", "set", "dev", &cable.ours, "mtu", "1500"]);
    set(&["link", "set", "dev", &cable.ours, "down"]);
    complains(&with(&[]), &[&port, "link is down", "ip link set"]);
}

/// The cable is pulled and plugged in again: both are said, and the proxy serves on.
#[test]
fn the_link_is_watched() {
    let Some(cable) = cable("the_link_is_watched", 45) else {
        return;
    };
    let proxy = proxy(&cable, &[]);
    let set = |state: &str| {
        let args = ["link", "set", "dev", &cable.theirs, state];
        far(&cable, "ip", &args, b"");
    };
    set("down");
    proxy.wait_until("the link is down", |proxy| {
        proxy.log().contains("the link is down")
    });
    set("up");
    proxy.wait_until("the link is up", |proxy| {
        proxy.log().contains("the link is up again")
    });
    // It lost its addresses of IPv6, not those of IPv4.
    let args = ["-k", "-sS", "--max-time", "60", "https://10.77.0.2/"];
    assert_eq!(far(&cable, "curl", &args, b""), "hello from spinlane\n");
    assert_eq!(proxy.stop().closed("finished"), 1);
}
