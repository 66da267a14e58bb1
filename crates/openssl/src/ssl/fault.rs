//! What is wrong with a PEM text (RFC 7468), as its lines show it. Parsers tell no more than that
//! they found nothing.

use thiserror::Error;

/// Sections that hold a certificate.
const CERTIFICATES: [&str; 3] = ["CERTIFICATE", "X509 CERTIFICATE", "TRUSTED CERTIFICATE"];
/// Sections that hold a private key which can be read.
const KEYS: [&str; 4] = [
    "PRIVATE KEY",
    "RSA PRIVATE KEY",
    "EC PRIVATE KEY",
    "DSA PRIVATE KEY",
];
/// A revocation list.
const REVOCATION_LIST: &str = "X509 CRL";
/// A key in PKCS#8, encrypted (RFC 5958, section 3).
const ENCRYPTED: &str = "ENCRYPTED PRIVATE KEY";
/// What ssh-keygen writes.
const OPENSSH: &str = "OPENSSH PRIVATE KEY";

/// What is looked for in a PEM text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Certificates.
    Certificate,
    /// A private key that is not encrypted.
    PrivateKey,
    /// Certificate revocation lists.
    RevocationList,
}

impl std::fmt::Display for Wanted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Certificate => "certificate",
            Self::PrivateKey => "private key",
            Self::RevocationList => "revocation list",
        })
    }
}

impl Wanted {
    fn is_in(self, label: &str) -> bool {
        match self {
            Self::Certificate => CERTIFICATES.contains(&label),
            Self::PrivateKey => KEYS.contains(&label) || [ENCRYPTED, OPENSSH].contains(&label),
            Self::RevocationList => label == REVOCATION_LIST,
        }
    }
}

/// What is wrong with a PEM text. The text names the remedy.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum PemFault {
    /// There is no section at all.
    #[error(
        "it has no line -----BEGIN ...-----; check the path, and if the file is in DER, convert it (openssl x509 or openssl pkey, -inform DER)"
    )]
    Empty,
    /// There are only others.
    #[error("it has only: {0}; check whether certificate and key were mixed up")]
    Missing(String),
    /// A section does not end.
    #[error(
        "the {label} that begins in line {line} has no end: the file was cut short; copy it again"
    )]
    CutShort {
        /// What the section is called.
        label: String,
        /// First line of the section, counted from one.
        line: usize,
    },
    /// A section has characters that are not base64's.
    #[error("line {line}, within the {label}, is not base64: the file is damaged; copy it again")]
    Damaged {
        /// What the section is called.
        label: String,
        /// Which line, counted from one.
        line: usize,
    },
    /// The key is encrypted.
    #[error(
        "the private key is encrypted, and there is nobody to ask for its pass phrase; decrypt it (openssl pkey -in FILE -out PLAIN), and let nobody else read the result"
    )]
    Encrypted,
    /// The key is in the format of OpenSSH.
    #[error(
        "the private key is in the format of OpenSSH; convert a copy (ssh-keygen -p -m PEM -f COPY)"
    )]
    OpenSsh,
}

/// Returns a section's label, if `line` is its first (`BEGIN`) or last (`END`).
fn label<'a>(line: &'a str, which: &str) -> Option<&'a str> {
    let label = line.strip_prefix("-----")?.strip_prefix(which)?;
    label.strip_prefix(' ')?.strip_suffix("-----")
}

/// Looks for what is wrong with the sections of `text` that are `wanted`, of which there must be
/// one.
///
/// # Errors
/// What is wrong.
pub(super) fn check(text: &[u8], wanted: Wanted) -> Result<(), PemFault> {
    let text = String::from_utf8_lossy(text);
    let mut lines = text.lines().map(str::trim_end).zip(1..);
    let (mut is_found, mut others) = (false, Vec::new());
    while let Some((line, number)) = lines.next() {
        let Some(label) = label(line, "BEGIN") else {
            continue;
        };
        if !wanted.is_in(label) {
            others.push(label);
            continue;
        }
        // Of several keys the first is read.
        if is_found && wanted == Wanted::PrivateKey {
            break;
        }
        section(label, number, &mut lines)?;
        is_found = true;
    }
    match (is_found, others.is_empty()) {
        (true, _) => Ok(()),
        (false, true) => Err(PemFault::Empty),
        (false, false) => Err(PemFault::Missing(others.join(", "))),
    }
}

/// Reads a section to its end.
fn section<'a>(
    name: &str,
    begin: usize,
    lines: &mut impl Iterator<Item = (&'a str, usize)>,
) -> Result<(), PemFault> {
    match name {
        ENCRYPTED => return Err(PemFault::Encrypted),
        OPENSSH => return Err(PemFault::OpenSsh),
        _ => {}
    }
    let is_base64 = |byte: u8| byte.is_ascii_alphanumeric() || b"+/= \t".contains(&byte);
    for (line, number) in lines {
        if label(line, "END") == Some(name) {
            return Ok(());
        }
        if line.starts_with("-----") {
            break;
        }
        if line.starts_with("Proc-Type:") && line.contains("ENCRYPTED") {
            return Err(PemFault::Encrypted);
        }
        // Headers were in use before RFC 7468.
        if !line.contains(':') && !line.bytes().all(is_base64) {
            return Err(PemFault::Damaged {
                label: name.to_owned(),
                line: number,
            });
        }
    }
    Err(PemFault::CutShort {
        label: name.to_owned(),
        line: begin,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n";

    fn fault(text: &str, wanted: Wanted) -> PemFault {
        check(text.as_bytes(), wanted).unwrap_err()
    }

    #[test]
    fn whole_sections_pass_whatever_stands_around_them() {
        let key = "-----BEGIN EC PRIVATE KEY-----\r\nAA==\r\n-----END EC PRIVATE KEY-----\r\n";
        let text = format!("Bag Attributes\n{CERTIFICATE}\nissuer:\n{CERTIFICATE}{key}");
        assert_eq!(check(text.as_bytes(), Wanted::Certificate), Ok(()));
        assert_eq!(check(text.as_bytes(), Wanted::PrivateKey), Ok(()));
    }

    #[test]
    fn each_fault_is_told_from_the_others() {
        use Wanted::{Certificate, PrivateKey};
        assert_eq!(fault("noise", Certificate), PemFault::Empty);
        let missing = PemFault::Missing("CERTIFICATE".to_owned());
        assert_eq!(fault(CERTIFICATE, PrivateKey), missing);
        for cut in ["", "-----END", "-----BEGIN CERTIFICATE-----\nAA=="] {
            let text = format!("{CERTIFICATE}-----BEGIN CERTIFICATE-----\nAA\n{cut}");
            let (label, line) = ("CERTIFICATE".to_owned(), 4);
            assert_eq!(
                fault(&text, Certificate),
                PemFault::CutShort { label, line }
            );
        }
        let text = CERTIFICATE.replace("AA", "A!");
        let (label, line) = ("CERTIFICATE".to_owned(), 2);
        assert_eq!(fault(&text, Certificate), PemFault::Damaged { label, line });
        for text in [
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAA==",
            "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nAA==",
        ] {
            assert_eq!(fault(text, PrivateKey), PemFault::Encrypted);
        }
        let openssh = "-----BEGIN OPENSSH PRIVATE KEY-----\nAA==";
        assert_eq!(fault(openssh, PrivateKey), PemFault::OpenSsh);
    }
}
