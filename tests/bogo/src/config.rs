//! Configurations of rustls as the runner's flags ask for them.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::version::{TLS12, TLS13};
use rustls::{
    ClientConfig, DigitallySignedStruct, DistinguishedName, ServerConfig, SignatureScheme,
    SupportedProtocolVersion,
};
use spinlane::rustls::{SCOPE_LEN, TicketSeed, provider};

use crate::flags::Flags;

type Failed = Box<dyn Error>;

/// How long a ticket is good; longer than any test.
const PERIOD: Duration = Duration::from_secs(6 * 60 * 60);

/// A client's configuration, which takes any certificate whose key has signed the handshake.
///
/// # Errors
/// Files or flags are at fault.
pub fn client(flags: &Flags) -> Result<Arc<ClientConfig>, Failed> {
    let provider = chosen_provider(flags);
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&versions(flags))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyPeer(provider)));
    let mut config = match identity(flags)? {
        Some((chain, key)) => builder.with_client_auth_cert(chain, key)?,
        None => builder.with_no_client_auth(),
    };
    config.enable_secret_extraction = true;
    config.max_fragment_size = flags.max_send_fragment.map(|len| len + 5);
    config.alpn_protocols.clone_from(&flags.advertise_alpn);
    config.enable_sni = flags.host_name.is_some();
    Ok(Arc::new(config))
}

/// A server's configuration.
///
/// # Errors
/// Files or flags are at fault.
pub fn server(flags: &Flags) -> Result<Arc<ServerConfig>, Failed> {
    let provider = chosen_provider(flags);
    let (chain, key) = identity(flags)?.ok_or("a server without -cert-file and -key-file")?;
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&versions(flags))?;
    let mut config = if flags.verify_peer || flags.require_client_certificate {
        builder.with_client_cert_verifier(Arc::new(AnyClient {
            any: AnyPeer(provider),
            required: flags.require_client_certificate,
        }))
    } else {
        builder.with_no_client_auth()
    }
    .with_single_cert(chain, key)?;
    config.enable_secret_extraction = true;
    config.max_fragment_size = flags.max_send_fragment.map(|len| len + 5);
    config.alpn_protocols = flags.select_alpn.iter().cloned().collect();
    config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    if !flags.no_ticket {
        config.ticketer = TicketSeed::new(PERIOD).ticketer(|_| [0; SCOPE_LEN]);
        config.send_tls13_tickets = 2;
    }
    Ok(Arc::new(config))
}

type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn identity(flags: &Flags) -> Result<Option<Identity>, Failed> {
    let (Some(certificate), Some(key)) = (&flags.certificate, &flags.key) else {
        return Ok(None);
    };
    let chain = CertificateDer::pem_file_iter(certificate)?.collect::<Result<_, _>>()?;
    Ok(Some((chain, PrivateKeyDer::from_pem_file(key)?)))
}

fn versions(flags: &Flags) -> Vec<&'static SupportedProtocolVersion> {
    let range = flags.min_version..=flags.max_version;
    let mut versions = Vec::new();
    if range.contains(&0x0304) && !flags.no_tls13 {
        versions.push(&TLS13);
    }
    if range.contains(&0x0303) && !flags.no_tls12 {
        versions.push(&TLS12);
    }
    versions
}

/// The front-end's provider, with the groups that the runner names.
fn chosen_provider(flags: &Flags) -> Arc<CryptoProvider> {
    let mut provider = provider();
    if !flags.groups.is_empty() {
        let all = std::mem::take(&mut provider.kx_groups);
        let named = flags.groups.iter().filter_map(|&id| {
            let of_id = all.iter().find(|group| u16::from(group.name()) == id);
            of_id.copied()
        });
        provider.kx_groups = named.collect();
    }
    Arc::new(provider)
}

/// Takes every certificate, and only right signatures.
#[derive(Debug)]
struct AnyPeer(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyPeer {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// The same for clients.
#[derive(Debug)]
struct AnyClient {
    any: AnyPeer,
    required: bool,
}

impl ClientCertVerifier for AnyClient {
    fn client_auth_mandatory(&self) -> bool {
        self.required
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.any
            .verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.any
            .verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.any.supported_verify_schemes()
    }
}
