//! What `spinlane proxy` says to keys and certificates that it cannot serve: the file, what is wrong with
//! it, and what to do. And keys that it can.

#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};
use std::process::Command;

use spinlane_tests::identity::{Identity, issued, self_signed};
use spinlane_tests::program::{TempDir, has, run, spinlane, text};
use spinlane_tests::proxy::{LIBRARIES, Proxy, signature_type};

fn openssl(args: &[&str]) -> String {
    let output = run(Command::new("openssl").args(args), b"");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "openssl {args:?}: {said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A self-signed certificate called `name`, whose key is made by `openssl genpkey` with `options`.
fn made(dir: &TempDir, name: &str, options: &[&str]) -> Identity {
    let [key, certificate] = ["key", "pem"].map(|end| dir.path(&format!("{name}.{end}")));
    openssl(&[&["genpkey", "-out", text(&key)], options].concat());
    let request = [
        "req", "-new", "-x509", "-days", "2", "-subj", "/CN=x", "-sha1",
    ];
    let names = ["-addext", "subjectAltName=DNS:localhost"];
    let files = ["-key", text(&key), "-out", text(&certificate)];
    // The digest matters where the key is too short for a longer one, and nowhere else.
    let digest = if name == "rsa512" { 8 } else { 7 };
    openssl(&[&request[..digest], &names[..], &files[..]].concat());
    Identity { certificate, key }
}

/// What a proxy says that refuses to start.
#[track_caller]
fn refused(library: &str, certificate: &Path, key: &Path, says: &[&str]) {
    let files = ["--cert", text(certificate), "--key", text(key)];
    let mut command = Command::new(spinlane());
    command.args(["proxy", "--listen", "127.0.0.1:0", "--tls", library]);
    let output = run(command.args(files), b"");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{library} {key:?} is accepted");
    for part in says {
        assert!(
            said.contains(part),
            "{library} {key:?}: {part:?} is missing in: {said}"
        );
    }
    for noise in ["failed to parse private key", "panicked", "[80, ", "[67, "] {
        assert!(!said.contains(noise), "{library} {key:?}: {said}");
    }
}

const RSA: [&str; 2] = ["-algorithm", "RSA"];
const EC: [&str; 2] = ["-algorithm", "EC"];

#[test]
fn keys_that_rustls_does_not_know_are_named() {
    if !has("openssl") {
        return;
    }
    let dir = TempDir::new();
    let option = |base: [&'static str; 2], options: &[&'static str]| {
        let options = options.iter().flat_map(|option| ["-pkeyopt", option]);
        base.into_iter().chain(options).collect::<Vec<_>>()
    };
    let bits = "rsa_keygen_bits:2048";
    for (name, options, what) in [
        (
            "rsa512",
            option(RSA, &["rsa_keygen_bits:512"]),
            "RSA key of 512 bits",
        ),
        (
            "rsa1024",
            option(RSA, &["rsa_keygen_bits:1024"]),
            "RSA key of 1024 bits",
        ),
        (
            "primes",
            option(RSA, &[bits, "rsa_keygen_primes:3"]),
            "more than two primes",
        ),
        (
            "exponent",
            option(RSA, &[bits, "rsa_keygen_pubexp:18446744073709551629"]),
            "public exponent has 65 bits",
        ),
        (
            "koblitz",
            option(EC, &["ec_paramgen_curve:secp256k1"]),
            "EC key on secp256k1",
        ),
        (
            "brainpool",
            option(EC, &["ec_paramgen_curve:brainpoolP256r1"]),
            "EC key on brainpoolP256r1",
        ),
        ("ed448", vec!["-algorithm", "ED448"], "an Ed448 key"),
        (
            "pss1024",
            option(["-algorithm", "RSA-PSS"], &["rsa_keygen_bits:1024"]),
            "RSA key of 1024 bits",
        ),
    ] {
        let Identity { certificate, key } = made(&dir, name, &options);
        let file = format!("--key {}", text(&key));
        let remedy = "use RSA of 2048 to 8192 bits";
        if what.contains("512") || what.contains("1024") {
            refused("rustls", &certificate, &key, &[&file, what, remedy]);
            let file = format!("--cert {}", text(&certificate));
            let says = [&*file, "too small", "from 2048 bits"];
            refused("openssl", &certificate, &key, &says);
        } else {
            let elsewhere = "--tls openssl, which serves this one";
            let says = [&*file, what, remedy, elsewhere];
            refused("rustls", &certificate, &key, &says);
            served("openssl", &Identity { certificate, key }, &[]);
        }
    }
}

/// Asserts that a proxy serves with these files.
#[track_caller]
fn served(library: &str, identity: &Identity, client: &[&str]) -> String {
    let Identity { certificate, key } = identity;
    let files = ["--cert", text(certificate), "--key", text(key)];
    let proxy = Proxy::start(&[&["--tls", library][..], &files].concat());
    let address = proxy.address.to_string();
    let mut command = Command::new("openssl");
    command.args(["s_client", "-ign_eof", "-connect", &address, "-groups"]);
    command
        .arg("X25519:P-256:secp256k1:brainpoolP256r1")
        .args(client);
    let output = run(&mut command, b"GET / HTTP/1.0\r\n\r\n");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        said.contains("hello from spinlane"),
        "{library} {key:?}: {said}"
    );
    proxy.stop();
    said
}

/// The private key in `key`, an RSA key of two primes, without what is only for speed.
fn without_crt(dir: &TempDir, key: &Path) -> PathBuf {
    let told = openssl(&["pkey", "-in", text(key), "-noout", "-text"]);
    let number = |name: &str| {
        let lines = told.lines().skip_while(|line| *line != name).skip(1);
        let digits = lines.take_while(|line| line.starts_with("    "));
        digits.collect::<String>().replace([' ', ':'], "")
    };
    let (n, d) = (number("modulus:"), number("privateExponent:"));
    let zeros: String = ["p", "q", "dp", "dq", "qinv"]
        .map(|name| format!("{name}=INTEGER:0\n"))
        .concat();
    let numbers =
        format!("v=INTEGER:0\nn=INTEGER:0x{n}\ne=INTEGER:65537\nd=INTEGER:0x{d}\n{zeros}");
    let config = format!("asn1=SEQUENCE:key\n[key]\n{numbers}");
    let config = dir.file("nocrt.cnf", config.as_bytes());
    let (der, pem) = (dir.path("nocrt.der"), dir.path("nocrt.key"));
    openssl(&[
        "asn1parse",
        "-genconf",
        text(&config),
        "-noout",
        "-out",
        text(&der),
    ]);
    openssl(&["base64", "-in", text(&der), "-out", text(&pem)]);
    let base64 = std::fs::read_to_string(&pem).unwrap();
    let (begin, end) = (
        "-----BEGIN RSA PRIVATE KEY-----",
        "-----END RSA PRIVATE KEY-----",
    );
    std::fs::write(&pem, format!("{begin}\n{base64}{end}\n")).unwrap();
    pem
}

#[test]
fn keys_that_cannot_be_read_or_do_not_sign_are_told_apart() {
    if !has("openssl") {
        return;
    }
    let dir = TempDir::new();
    let (rsa, p256) = (
        self_signed(&dir, "rsa", "rsa2048"),
        self_signed(&dir, "p256", "p256"),
    );
    let no_crt = without_crt(&dir, &rsa.key);
    let [pkcs8, traditional_ec, traditional_rsa] =
        ["pkcs8.key", "ec.key", "rsa-traditional.key"].map(|name| dir.path(name));
    let pass = ["-passout", "pass:secret", "-out"];
    let encrypt = |command: &[&str], from: &Path, to: &Path| {
        openssl(&[command, &["-in", text(from)], &pass[..], &[text(to)]].concat());
    };
    encrypt(&["pkcs8", "-topk8"], &p256.key, &pkcs8);
    encrypt(&["ec", "-aes128"], &p256.key, &traditional_ec);
    encrypt(
        &["rsa", "-aes128", "-traditional"],
        &rsa.key,
        &traditional_rsa,
    );
    let pem = std::fs::read_to_string(&p256.key).unwrap();
    let cut = dir.file("cut.key", &pem.as_bytes()[..pem.len() / 2]);
    let damaged = dir.file("damaged.key", pem.replacen('M', "!", 1).as_bytes());
    let der = dir.path("der.key");
    openssl(&[
        "pkey",
        "-in",
        text(&p256.key),
        "-outform",
        "DER",
        "-out",
        text(&der),
    ]);
    for library in LIBRARIES {
        let decrypt = [
            "is encrypted",
            "pass phrase",
            "openssl pkey -in FILE -out PLAIN",
        ];
        let crt = "numbers of the Chinese remainder theorem";
        for (certificate, key, says) in [
            (&rsa.certificate, &no_crt, &[crt][..]),
            (&p256.certificate, &pkcs8, &decrypt),
            (&p256.certificate, &traditional_ec, &decrypt),
            (&rsa.certificate, &traditional_rsa, &decrypt),
            (
                &p256.certificate,
                &cut,
                &["begins in line 1", "was cut short", "copy it again"],
            ),
            (
                &p256.certificate,
                &damaged,
                &["line 2", "is not base64", "copy it again"],
            ),
            (
                &p256.certificate,
                &der,
                &["no line -----BEGIN", "-inform DER"],
            ),
            (
                &p256.certificate,
                &p256.certificate,
                &["only: CERTIFICATE", "mixed up"],
            ),
        ] {
            let file = format!("--key {}", text(key));
            refused(
                library,
                certificate,
                key,
                &[&[file.as_str()], says].concat(),
            );
        }
    }
}

#[test]
fn certificates_that_do_not_serve_are_told_apart() {
    if !has("openssl") {
        return;
    }
    let dir = TempDir::new();
    let ca = self_signed(&dir, "ca", "p256");
    let Identity { certificate, key } = issued(&dir, "leaf", "p256", &ca, "DNS:localhost");
    let [leaf, issuer] = [&certificate, &ca.certificate]
        .map(|path| std::fs::read_to_string(path).expect("a certificate"));
    let reversed = dir.file("reversed.pem", [&*issuer, &*leaf].concat().as_bytes());
    let half = &issuer[..issuer.len() / 2];
    let cut = dir.file("cut.pem", [&*leaf, half].concat().as_bytes());
    for library in LIBRARIES {
        for (certificate, says) in [
            (&reversed, &["is number 2", "put it first"]),
            (&cut, &["was cut short", "copy it again"]),
            (&ca.certificate, &["do not match", "issued for"]),
            (&key, &["only: PRIVATE KEY", "mixed up"]),
        ] {
            let file = format!("--cert {}", text(certificate));
            refused(
                library,
                certificate,
                &key,
                &[&[file.as_str()], &says[..]].concat(),
            );
        }
        let mut command = Command::new(spinlane());
        command.args(["proxy", "--listen", "127.0.0.1:0", "--tls", library]);
        let output = run(command.args(["--client-ca", text(&cut)]), b"");
        let said = String::from_utf8_lossy(&output.stderr);
        let file = format!("--client-ca {}", text(&cut));
        assert!(said.contains(&file) && said.contains("cut short"), "{said}");
    }
    let options = [
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-pkeyopt",
        "ec_param_enc:explicit",
    ];
    let explicit = made(&dir, "explicit", &[&EC[..], &options].concat());
    let file = format!("--cert {}", text(&explicit.certificate));
    let says = [&*file, "explicit parameters", "ec_param_enc:named_curve"];
    refused("rustls", &explicit.certificate, &explicit.key, &says);
}

#[test]
fn a_certificate_of_an_old_version_is_named() {
    if !has("openssl") {
        return;
    }
    let dir = TempDir::new();
    let key = self_signed(&dir, "new", "p256").key;
    let (request, old) = (dir.path("old.csr"), dir.path("old.pem"));
    openssl(&[
        "req",
        "-new",
        "-subj",
        "/CN=x",
        "-key",
        text(&key),
        "-out",
        text(&request),
    ]);
    let (input, output) = (["-in", text(&request)], ["-out", text(&old)]);
    let version_1 = |args: &[&str]| {
        let sign = ["-days", "2", "-key", text(&key)];
        openssl(&[args, &input[..], &sign, &output].concat());
        openssl(&["x509", "-in", text(&old), "-noout", "-text"]).contains("Version: 1 (")
    };
    // Since OpenSSL 3.4 version 1 has to be asked for, and nothing configured that needs version 3.
    let asked = ["req", "-x509", "-x509v1", "-config", "/dev/null"];
    assert!(
        version_1(&["x509", "-req"]) || version_1(&asked),
        "openssl makes no certificate of version 1"
    );
    let file = format!("--cert {}", text(&old));
    refused(
        "rustls",
        &old,
        &key,
        &[&file, "X.509 version 1", "one of version 3"],
    );
    let identity = Identity {
        certificate: old,
        key,
    };
    served("openssl", &identity, &[]);
}

/// RSA keys for PSS alone, by the schemes that are theirs.
#[test]
fn rsa_pss_keys_serve() {
    if !has("openssl") {
        return;
    }
    let dir = TempDir::new();
    let base = ["-algorithm", "RSA-PSS", "-pkeyopt", "rsa_keygen_bits:2048"];
    let any = made(&dir, "any", &base);
    let restricted = ["rsa_pss_keygen_md:sha384", "rsa_pss_keygen_mgf1_md:sha384"];
    let restricted = restricted.iter().flat_map(|option| ["-pkeyopt", option]);
    let restricted = base.into_iter().chain(restricted).collect::<Vec<_>>();
    let sha384 = made(&dir, "sha384", &restricted);
    for library in LIBRARIES {
        let said = served(
            library,
            &any,
            &["-tls1_3", "-sigalgs", "rsa_pss_pss_sha256"],
        );
        assert!(signature_type(&said).starts_with("RSA-PSS"), "{said}");
        let said = served(
            library,
            &any,
            &["-tls1_3", "-sigalgs", "rsa_pss_pss_sha512"],
        );
        assert!(said.contains("Peer signing digest: SHA512"), "{said}");
        let said = served(library, &sha384, &["-tls1_3"]);
        assert!(said.contains("Peer signing digest: SHA384"), "{said}");
    }
}
