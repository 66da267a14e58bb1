//! Which servers a client believes. One test alone in its process: it changes the environment.

mod support;

use spinlane_openssl::{ClientConfig, Progress, ServerConfig, Ssl, SslCtx, SslError, Trust};
use support::{Pair, identity, pump};

/// The handshake of a client that wants `name` with a server whose certificate is for `localhost`.
fn handshake(config: &ClientConfig, name: Option<&str>) -> Result<(), SslError> {
    let (chain, key) = identity("p256");
    let server = SslCtx::server(&ServerConfig::new(chain, key)).expect("a server");
    let client = SslCtx::client(config).expect("a client");
    let mut pair = Pair {
        server: Ssl::server(&server).expect("a server"),
        client: Ssl::client(&client).expect("a client"),
    };
    if let Some(name) = name {
        pair.client.set_server_name(name)?;
    }
    while pair.client.handshake()? != Progress::Done(0) {
        pump(&mut pair.client, &mut pair.server);
        // It hears of the client's error, which is what is looked at.
        let _ = pair.server.handshake();
        pump(&mut pair.server, &mut pair.client);
    }
    Ok(())
}

fn is_unverified(result: Result<(), SslError>) -> bool {
    matches!(result, Err(SslError::Tls(errors)) if errors.mentions("certificate verify failed"))
}

#[test]
fn a_client_verifies_unless_it_says_the_dangerous_word() {
    let (chain, _) = identity("p256");
    let issuers = || ClientConfig {
        trust: Trust::Issuers(chain.clone()),
        ..ClientConfig::default()
    };
    let default = ClientConfig::default;
    assert!(
        is_unverified(handshake(&default(), Some("localhost"))),
        "nobody knows that issuer"
    );
    assert_eq!(handshake(&default(), None), Err(SslError::NoServerName));
    assert_eq!(handshake(&issuers(), Some("localhost")), Ok(()));
    assert_eq!(
        handshake(&issuers(), None),
        Ok(()),
        "any server of these issuers"
    );
    assert!(
        is_unverified(handshake(&issuers(), Some("other.test"))),
        "another name"
    );
    assert!(
        is_unverified(handshake(&issuers(), Some("127.0.0.1"))),
        "an address"
    );
    let refused = handshake(&issuers(), Some("")).expect_err("no name");
    assert!(refused.to_string().contains("server name"), "{refused}");
    let any = ClientConfig::dangerously_accepting_any_certificate();
    assert_eq!(handshake(&any, None), Ok(()));

    let path = std::env::temp_dir().join(format!("spinlane-trust-{}.pem", std::process::id()));
    std::fs::write(&path, chain.text()).expect("a file");
    // SAFETY: the process's only test, so that no other thread reads the environment.
    unsafe { std::env::set_var("SSL_CERT_FILE", &path) };
    assert_eq!(
        handshake(&default(), Some("localhost")),
        Ok(()),
        "the system's now"
    );
    assert!(is_unverified(handshake(&default(), Some("other.test"))));
    let _ = std::fs::remove_file(path);
}
