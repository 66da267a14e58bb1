//! The examples, poll-mode TLS echo servers in C, with real clients: many connections of OpenSSL's, and
//! the openssl program.

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::{env, fs};

use support::{Identity, Link, compile, identity, succeed, text};

const LIBSSL: &str = "echo_server.c";
/// By libssl, and by `spinlane_conn_*`.
const EXAMPLES: [&str; 2] = [LIBSSL, "echo_conn.c"];

struct Server {
    child: Child,
    port: String,
}

impl Server {
    /// The example, serving with a key of this kind, on a queue pair for `nb_desc` ops.
    fn start(example: &str, kind: &str, device: &str, nb_desc: &str) -> Self {
        Self::with_key(example, &identity(kind), None, device, nb_desc)
    }

    /// The same; `token` has the key, if there is one.
    fn with_key(
        example: &str,
        identity: &Identity,
        token: Option<&Token>,
        device: &str,
        nb_desc: &str,
    ) -> Self {
        let flags = ["-Wpedantic"];
        let source = format!("examples/{example}");
        let mut command = Command::new(compile(&source, Link::Spinlane, &flags));
        command.arg(&identity.certificate);
        match token {
            Some(token) => token.configure(command.arg(&token.uri)),
            None => command.arg(&identity.key),
        };
        command.args([device, nb_desc]);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap())
            .read_line(&mut line)
            .unwrap();
        let port = line.trim().rsplit(' ').next().unwrap().to_owned();
        Self { child, port }
    }

    /// Ends it; what it counted, by name.
    fn stop(mut self) -> impl Fn(&str) -> u64 {
        // SAFETY: a signal to our own child, which has not been waited for.
        unsafe { libc::kill(self.child.id().cast_signed(), libc::SIGTERM) };
        let mut output = String::new();
        self.child
            .stdout
            .take()
            .unwrap()
            .read_to_string(&mut output)
            .unwrap();
        assert!(self.child.wait().unwrap().success(), "{output}");
        move |name| {
            let mut words = output.split_whitespace();
            words
                .find(|word| *word == name)
                .unwrap_or_else(|| panic!("no {name} in {output}"));
            words.next().unwrap().parse().unwrap()
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
    }
}

fn serve_many(example: &str, kind: &str, device: &str, nb_desc: &str) -> impl Fn(&str) -> u64 {
    serve_many_by(example, Server::start(example, kind, device, nb_desc))
}

fn serve_many_by(example: &str, server: Server) -> impl Fn(&str) -> u64 {
    let clients = compile("tests/c/clients.c", Link::Stock, &[]);
    let output = succeed(Command::new(clients).args([&server.port, "24", "10"]));
    assert_eq!(
        text(&output.stdout).trim(),
        "240",
        "{}",
        text(&output.stderr)
    );
    let counted = server.stop();
    assert_eq!(
        (counted("accepted"), counted("served"), counted("failed")),
        (240, 240, 0)
    );
    assert_eq!(
        counted("retried"),
        counted("refused"),
        "one retry for each op refused"
    );
    assert_eq!(counted("completed"), counted("enqueued"));
    assert_eq!(counted("inline"), 0);
    if example == LIBSSL {
        // Key generation, derivation and signature of each TLS 1.3 handshake.
        assert_eq!(
            counted("enqueued"),
            3 * 240,
            "every private-key op is offloaded"
        );
        assert_eq!(
            counted("callbacks"),
            counted("enqueued"),
            "one callback for each op accepted"
        );
        assert_eq!(counted("paused"), counted("enqueued") + counted("refused"));
    } else {
        // Key exchange and signature; a hybrid exchange is two ops and one pause.
        assert!(counted("enqueued") >= 2 * 240);
        assert_eq!(counted("paused"), 2 * 240 + counted("refused"));
    }
    counted
}

#[test]
fn it_serves_many_connections() {
    for example in EXAMPLES {
        for kind in ["rsa2048", "p256"] {
            let counted = serve_many(example, kind, "auto", "0");
            assert_eq!(counted("refused"), 0, "24 clients fit a queue pair of 256");
        }
    }
}

/// A SoftHSM2 token of the test's own, with one key.
struct Token {
    configuration: PathBuf,
    uri: String,
}

impl Token {
    /// Moves the identity's key onto a token. `None`, said aloud, where there is no SoftHSM2.
    fn with(identity: &Identity, kind: &str) -> Option<Self> {
        const MODULE: &str = "/usr/lib/softhsm/libsofthsm2.so";
        if !Path::new(MODULE).exists() {
            let _ = writeln!(
                std::io::stderr(),
                "SKIPPED a key on a token: {MODULE} is missing; `make test` installs it"
            );
            return None;
        }
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("token-{kind}"));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(folder.join("tokens")).unwrap();
        let tokens = folder.join("tokens");
        let configuration = folder.join("softhsm2.conf");
        fs::write(
            &configuration,
            format!("directories.tokendir = {}\n", tokens.display()),
        )
        .unwrap();
        fs::write(folder.join("pin"), "1234\n").unwrap();
        let pin = folder.join("pin");
        let token = Self {
            configuration,
            uri: format!(
                "pkcs11:token=web;object=site?module-path={MODULE}&pin-source=file:{}",
                pin.display()
            ),
        };
        let key = identity.key.to_str().unwrap();
        for arguments in [
            &[
                "--init-token",
                "--free",
                "--label",
                "web",
                "--so-pin",
                "12345678",
            ][..],
            &[
                "--import", key, "--token", "web", "--label", "site", "--id", "01",
            ],
        ] {
            let mut util = Command::new("softhsm2-util");
            succeed(token.configure(util.args(arguments).args(["--pin", "1234"])));
        }
        Some(token)
    }

    fn configure<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command.env("SOFTHSM2_CONF", &self.configuration)
    }
}

#[test]
fn it_serves_keys_that_stay_on_a_token() {
    for kind in ["rsa2048", "p256"] {
        let identity = identity(kind);
        let Some(token) = Token::with(&identity, kind) else {
            return;
        };
        let nowhere = Identity {
            key: "/nonexistent".into(),
            ..identity
        };
        for example in EXAMPLES {
            let server = Server::with_key(example, &nowhere, Some(&token), "auto", "0");
            let counted = serve_many_by(example, server);
            assert_eq!(counted("refused"), 0, "24 clients fit a queue pair of 256");
        }
    }
}

#[test]
fn a_key_of_another_certificate_is_refused() {
    let (ours, other) = (identity("p256"), identity("rsa2048"));
    let Some(token) = Token::with(&ours, "other") else {
        return;
    };
    let mut server = Command::new(compile("examples/echo_server.c", Link::Spinlane, &[]));
    server.arg(&other.certificate).arg(&token.uri);
    let output = token.configure(&mut server).output().unwrap();
    let said = text(&output.stderr);
    assert!(
        !output.status.success() && said.contains("SSL_CTX_use_PrivateKey"),
        "{said}"
    );
}

#[test]
fn it_serves_them_through_a_queue_pair_for_two() {
    for example in EXAMPLES {
        let counted = serve_many(example, "rsa2048", "soft", "2");
        assert!(
            counted("refused") > 0,
            "24 clients do not fit a queue pair of 2"
        );
    }
}

#[test]
fn it_serves_the_openssl_program() {
    for example in EXAMPLES {
        serve_the_openssl_program(example);
    }
}

fn serve_the_openssl_program(example: &str) {
    let server = Server::start(example, "p256", "auto", "0");
    for protocol in ["-tls1_2", "-tls1_3"] {
        let mut client = Command::new("openssl");
        client.args(["s_client", "-quiet", "-no_ign_eof", protocol, "-connect"]);
        client.arg(format!("localhost:{}", server.port));
        client
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut client = client.spawn().unwrap();
        client
            .stdin
            .as_mut()
            .unwrap()
            .write_all(b"anyone there?\n")
            .unwrap();
        let mut echo = String::new();
        BufReader::new(client.stdout.as_mut().unwrap())
            .read_line(&mut echo)
            .unwrap();
        assert_eq!(echo, "anyone there?\n", "{protocol}");
        drop(client.stdin.take());
        client.wait().unwrap();
    }
    assert_eq!(server.stop()("served"), 2);
}

#[test]
fn connections_closed_while_paused_lose_nothing() {
    for example in EXAMPLES {
        close_while_paused(example);
    }
}

fn close_while_paused(example: &str) {
    let server = Server::start(example, "rsa2048", "auto", "0");
    for _ in 0..50 {
        // A client hello and away: the server is paused on the key exchange by then, or about to be.
        let mut client = Command::new("openssl");
        client.args([
            "s_client",
            "-connect",
            &format!("localhost:{}", server.port),
        ]);
        client
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let mut client = client.spawn().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(2));
        client.kill().unwrap();
        client.wait().unwrap();
    }
    let clients = compile("tests/c/clients.c", Link::Stock, &[]);
    let output = succeed(Command::new(clients).args([&server.port, "4", "5"]));
    assert_eq!(
        text(&output.stdout).trim(),
        "20",
        "{}",
        text(&output.stderr)
    );
    assert!(server.stop()("served") >= 20);
}
