//! Certificates and keys, made by the program `openssl`.

use std::path::PathBuf;
use std::process::Command;

use crate::program::{TempDir, run};

/// A certificate and its key, as files.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The certificate.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

/// Kinds of keys, each with what tells `openssl genpkey` to make one.
pub const KEYS: [(&str, &[&str]); 7] = [
    (
        "rsa2048",
        &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"],
    ),
    (
        "rsa3072",
        &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:3072"],
    ),
    (
        "rsa4096",
        &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:4096"],
    ),
    (
        "p256",
        &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"],
    ),
    (
        "p384",
        &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"],
    ),
    ("ed25519", &["-algorithm", "ED25519"]),
    (
        "p521",
        &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-521"],
    ),
];

/// Makes a self-signed certificate for `localhost`, called `name`, whose key is one of [`KEYS`].
///
/// # Panics
/// `kind` is none of them, or `openssl` fails.
pub fn self_signed(dir: &TempDir, name: &str, kind: &str) -> Identity {
    let key = new_key(dir, name, kind);
    let certificate = dir.path(&format!("{name}.pem"));
    let subject = format!("/CN={name}");
    openssl(
        Command::new("openssl")
            .args([
                "req",
                "-new",
                "-x509",
                "-days",
                "2",
                "-subj",
                &subject,
                "-addext",
                "subjectAltName=DNS:localhost",
            ])
            .arg("-key")
            .arg(&key)
            .arg("-out")
            .arg(&certificate),
    );
    Identity { certificate, key }
}

/// Makes a certificate called `name` that `issuer` has issued, for `subject_alt_name`
/// (`DNS:example.org`), whose key is one of [`KEYS`].
///
/// # Panics
/// `kind` is none of them, or `openssl` fails.
pub fn issued(
    dir: &TempDir,
    name: &str,
    kind: &str,
    issuer: &Identity,
    subject_alt_name: &str,
) -> Identity {
    let key = new_key(dir, name, kind);
    let [request, extensions, certificate] =
        ["csr", "ext", "pem"].map(|end| dir.path(&format!("{name}.{end}")));
    let subject = format!("/CN={name}");
    openssl(
        Command::new("openssl")
            .args(["req", "-new", "-subj", &subject, "-key"])
            .arg(&key)
            .arg("-out")
            .arg(&request),
    );
    let text = format!("basicConstraints=critical,CA:FALSE\nsubjectAltName={subject_alt_name}\n");
    std::fs::write(&extensions, text).expect("a file can be written");
    openssl(
        Command::new("openssl")
            .args(["x509", "-req", "-days", "2", "-CAcreateserial", "-in"])
            .arg(&request)
            .arg("-CA")
            .arg(&issuer.certificate)
            .arg("-CAkey")
            .arg(&issuer.key)
            .arg("-extfile")
            .arg(&extensions)
            .arg("-out")
            .arg(&certificate),
    );
    Identity { certificate, key }
}

fn new_key(dir: &TempDir, name: &str, kind: &str) -> PathBuf {
    let (_, genpkey) = KEYS
        .iter()
        .find(|(key, _)| *key == kind)
        .expect("a kind of KEYS");
    let key = dir.path(&format!("{name}.key"));
    openssl(
        Command::new("openssl")
            .arg("genpkey")
            .args(*genpkey)
            .arg("-out")
            .arg(&key),
    );
    key
}

fn openssl(command: &mut Command) {
    let output = run(command, b"");
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}
