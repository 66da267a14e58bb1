//! Languages whose programs know nothing of Spinlane: the library preloaded, the provider loaded by an
//! openssl.cnf.

mod support;

use std::fs;

use support::servers::program;
use support::{Identity, identity, scratch, succeed, text};

// For EC keys too php wants a number of bits, from here or from the section `req` of openssl.cnf.
const PHP: &str = r#"
    function must($what, $result) {
        if (!$result) { fwrite(STDERR, "$what: " . openssl_error_string() . "\n"); exit(1); }
        return $result;
    }
    $key = must("key", openssl_pkey_get_private("file://" . $argv[1]));
    must("sign", openssl_sign("message", $signature, $key, OPENSSL_ALGO_SHA256));
    $public = must("public", openssl_pkey_get_details($key))["key"];
    must("verify", openssl_verify("message", $signature, $public, OPENSSL_ALGO_SHA256) === 1);
    foreach ([["private_key_type" => OPENSSL_KEYTYPE_RSA, "private_key_bits" => 2048],
              ["private_key_type" => OPENSSL_KEYTYPE_EC, "curve_name" => "prime256v1", "private_key_bits" => 2048],
              ["private_key_type" => OPENSSL_KEYTYPE_EC, "curve_name" => "secp521r1", "private_key_bits" => 2048]] as $options) {
        $made = must("pkey_new", openssl_pkey_new($options));
        must("export", openssl_pkey_export($made, $pem));
        $details = must("details", openssl_pkey_get_details($made));
        must("read", openssl_pkey_get_private($pem));
        must("sign again", openssl_sign("message", $signature, $made, OPENSSL_ALGO_SHA256));
        must("verify again", openssl_verify("message", $signature, $details["key"], OPENSSL_ALGO_SHA256) === 1);
        $request = must("csr", openssl_csr_new(["commonName" => "a"], $made));
        $cert = must("csr_sign", openssl_csr_sign($request, null, $made, 1));
        must("check", openssl_x509_check_private_key($cert, $made));
        must("pkcs12", openssl_pkcs12_export($cert, $p12, $made, "word"));
    }
    $rsa = must("pkey_new", openssl_pkey_new(["private_key_bits" => 2048]));
    $public = openssl_pkey_get_details($rsa)["key"];
    must("encrypt", openssl_public_encrypt("secret", $secret, $public));
    must("decrypt", openssl_private_decrypt($secret, $plain, $rsa) && $plain === "secret");
    echo "ok\n";
"#;

#[test]
fn php_signs_and_makes_keys() {
    for (kind, op) in [("rsa2048", "kind=rsa2048"), ("p256", "kind=ecdsa-p256")] {
        let Some(mut php) = program("php", None) else {
            return;
        };
        php.args(["-n", "-r", PHP]).arg(identity(kind).key);
        let output = succeed(&mut php);
        assert_eq!(text(&output.stdout), "ok\n", "{}", text(&output.stderr));
        assert!(
            text(&output.stderr).contains(op),
            "{}",
            text(&output.stderr)
        );
    }
}

const PYTHON: &str = r#"
import socket, ssl, sys, threading
certificate, key = sys.argv[1:]
server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
server.load_cert_chain(certificate, key)
listener = socket.create_server(("127.0.0.1", 0))
def serve():
    for _ in range(6):
        plain, _ = listener.accept()
        with server.wrap_socket(plain, server_side=True) as connection:
            connection.sendall(connection.recv(100).upper())
thread = threading.Thread(target=serve)
thread.start()
for version in [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]:
    client = ssl.create_default_context(cafile=certificate)
    client.maximum_version = version
    for _ in range(3):
        with socket.create_connection(listener.getsockname()) as plain:
            with client.wrap_socket(plain, server_hostname="localhost") as connection:
                connection.sendall(b"hello")
                assert connection.recv(100) == b"HELLO"
thread.join()
print("ok")
"#;

#[test]
fn python_serves_and_connects() {
    for (kind, op) in [("rsa2048", "kind=rsa2048"), ("p256", "kind=ecdsa-p256")] {
        let Identity { certificate, key } = identity(kind);
        let script = scratch().join("serve.py");
        fs::write(&script, PYTHON).unwrap();
        // The module is what is linked with libssl; the interpreter of this machine is that of its distribution.
        let Some(mut python) = program("python3", ssl_module().as_deref()) else {
            return;
        };
        let output = succeed(python.arg(&script).arg(&certificate).arg(&key));
        assert_eq!(text(&output.stdout), "ok\n", "{}", text(&output.stderr));
        assert!(
            text(&output.stderr).contains(op),
            "{}",
            text(&output.stderr)
        );
    }
}

/// Python's module that is linked with libssl.
fn ssl_module() -> Option<std::path::PathBuf> {
    let mut python = std::process::Command::new("python3");
    let output = python
        .args(["-c", "import _ssl; print(_ssl.__file__)"])
        .output()
        .ok()?;
    let path = text(&output.stdout).trim().to_owned();
    (!path.is_empty()).then(|| path.into())
}
