//! Servers that know nothing of Spinlane, as they come from the distribution: the library preloaded, the
//! provider loaded by an openssl.cnf. That it is really used is seen by its log.

mod support;

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use support::servers::{self, PATIENCE, Running, curl, free_port, program};
use support::{Identity, identity, scratch, succeed, text};

fn nginx(kind: &str, wanted: &str) {
    let Identity { certificate, key } = identity(kind);
    let Some(mut nginx) = program("nginx", None) else {
        return;
    };
    let port = free_port();
    let folder = scratch().join(format!("nginx-{kind}"));
    fs::create_dir_all(&folder).unwrap();
    let user = match succeed(Command::new("id").arg("-u"))
        .stdout
        .starts_with(b"0\n")
    {
        true => "user root;",
        false => "",
    };
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|name| format!("{name}_temp_path {};", folder.join(name).display()))
        .concat();
    let settings = format!(
        "daemon off; master_process on; worker_processes 2; error_log stderr info; {user} pid {pid};\n\
         events {{}}\n\
         http {{ access_log off; {temporary}\n\
         server {{ listen 127.0.0.1:{port} ssl; ssl_certificate {}; ssl_certificate_key {};\n\
         location / {{ return 200 hello; }} }} }}\n",
        certificate.display(),
        key.display(),
        pid = folder.join("pid").display(),
    );
    fs::write(folder.join("nginx.conf"), settings).unwrap();
    nginx.arg("-p").arg(&folder).arg("-e").arg("stderr");
    nginx.arg("-c").arg(folder.join("nginx.conf"));
    let mut nginx = Running::start(&mut nginx, port);
    curl(port, &certificate);
    let before = children(nginx.id());
    nginx.signal(libc::SIGHUP);
    let deadline = Instant::now() + PATIENCE;
    loop {
        let now = children(nginx.id());
        if now.len() == 2 && now.iter().all(|worker| !before.contains(worker)) {
            break;
        }
        assert!(Instant::now() < deadline, "no reload: {before:?} {now:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
    curl(port, &certificate);
    let log = nginx.stop();
    assert_eq!(
        log.matches("warmed up").count(),
        1,
        "once, by the master: {log}"
    );
    // Each worker says so once.
    assert!(
        log.matches(wanted).count() >= 2,
        "not {wanted:?} before and after: {log}"
    );
}

/// The children of a process that has one thread.
fn children(process: u32) -> Vec<String> {
    let file = format!("/proc/{process}/task/{process}/children");
    let listed = fs::read_to_string(file).unwrap();
    listed.split_whitespace().map(str::to_owned).collect()
}

#[test]
fn nginx_serves_curl_before_and_after_a_reload() {
    nginx("rsa2048", "kind=rsa2048");
    nginx("p256", "kind=ecdsa-p256");
}

fn haproxy(kind: &str, global: &str, wanted: &str) {
    let Identity { certificate, key } = identity(kind);
    let Some(mut haproxy) = program("haproxy", None) else {
        return;
    };
    let port = free_port();
    let folder = scratch().join(format!("haproxy-{kind}-{}", global.len()));
    fs::create_dir_all(&folder).unwrap();
    let both = [&certificate, &key]
        .map(|file| fs::read_to_string(file).unwrap())
        .concat();
    fs::write(folder.join("both.pem"), both).unwrap();
    let settings = format!(
        "global\n    nbthread 2\n    {global}\n\
         defaults\n    mode http\n    timeout connect 2m\n    timeout client 2m\n    timeout server 2m\n\
         frontend all\n    bind 127.0.0.1:{port} ssl crt {}\n\
         \x20   http-request return status 200 content-type text/plain string hello\n",
        folder.join("both.pem").display()
    );
    fs::write(folder.join("haproxy.cfg"), settings).unwrap();
    haproxy.arg("-db").arg("-f").arg(folder.join("haproxy.cfg"));
    let mut haproxy = Running::start(&mut haproxy, port);
    curl(port, &certificate);
    let log = haproxy.stop();
    assert!(log.contains(wanted), "no {wanted:?}: {log}");
}

#[test]
fn haproxy_serves_curl() {
    for global in ["", "ssl-mode-async"] {
        haproxy("rsa2048", global, "kind=rsa2048");
        haproxy("p256", global, "kind=ecdsa-p256");
    }
}

fn apache(kind: &str, wanted: &str) {
    let Identity { certificate, key } = identity(kind);
    let modules = [
        servers::unpacked().join("usr/lib/apache2/modules"),
        "/usr/lib/apache2/modules".into(),
    ];
    let Some(modules) = modules.into_iter().find(|folder| folder.exists()) else {
        eprintln!("SKIPPED: apache's modules are not here; tools/setup/setup.sh fetches them");
        return;
    };
    let Some(mut apache) = program("apache2", Some(&modules.join("mod_ssl.so"))) else {
        return;
    };
    let port = free_port();
    let folder = scratch().join(format!("apache-{kind}"));
    fs::create_dir_all(&folder).unwrap();
    // Answered without a file, so that it does not matter whose the files are.
    let settings = format!(
        "ServerName localhost\nServerRoot {folder}\nDefaultRuntimeDir {folder}\nPidFile {folder}/pid\n\
         Listen 127.0.0.1:{port}\nErrorLog /dev/stderr\nMutex pthread\n\
         User #65534\nGroup #65534\n\
         LoadModule mpm_event_module {modules}/mod_mpm_event.so\n\
         LoadModule authz_core_module {modules}/mod_authz_core.so\n\
         LoadModule ssl_module {modules}/mod_ssl.so\n\
         StartServers 2\nSSLEngine on\nSSLCertificateFile {}\nSSLCertificateKeyFile {}\n\
         <Location />\nRequire all denied\n</Location>\nErrorDocument 403 hello\n",
        certificate.display(),
        key.display(),
        folder = folder.display(),
        modules = modules.display(),
    );
    fs::write(folder.join("apache.conf"), settings).unwrap();
    apache
        .args(["-D", "FOREGROUND", "-f"])
        .arg(folder.join("apache.conf"));
    let mut apache = Running::start(&mut apache, port);
    curl(port, &certificate);
    let log = apache.stop();
    assert!(log.contains(wanted), "no {wanted:?}: {log}");
}

#[test]
fn apache_serves_curl() {
    apache("rsa2048", "kind=rsa2048");
    apache("p256", "kind=ecdsa-p256");
}

/// As root, postgres serves nobody. Whoever it runs as may look into the folders above this checkout, which may be
/// root's alone.
fn as_somebody_else(command: Command, user: &str) -> Command {
    let mut setpriv = Command::new("setpriv");
    setpriv.args(["--reuid", user, "--clear-groups"]);
    setpriv.args(["--inh-caps", "+dac_override"]);
    setpriv.args(["--ambient-caps", "+dac_override"]);
    setpriv.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        setpriv.env(name, value.unwrap_or_default());
    }
    setpriv
}

#[test]
fn postgres_takes_tls_connections() {
    let Identity { certificate, key } = identity("rsa2048");
    let Some(postgres) = program("postgres", None) else {
        return;
    };
    let user = match text(&succeed(Command::new("id").arg("-u")).stdout).trim() {
        "0" => Some("nobody"),
        _ => None,
    };
    let started = |command: Command| match user {
        Some(user) => as_somebody_else(command, user),
        None => command,
    };
    let port = free_port();
    let folder = std::env::temp_dir().join(format!("spinlane-postgres-{}", std::process::id()));
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    for (from, to) in [(&certificate, "cert.pem"), (&key, "key.pem")] {
        fs::copy(from, folder.join(to)).unwrap();
        let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        fs::set_permissions(folder.join(to), private).unwrap();
    }
    if let Some(user) = user {
        succeed(Command::new("chown").args(["-R", user]).arg(&folder));
    }
    let beside = fs::canonicalize(postgres.get_program()).unwrap();
    let mut initdb = Command::new(beside.with_file_name("initdb"));
    initdb.args([
        "--no-sync",
        "--no-locale",
        "-U",
        "test",
        "-A",
        "trust",
        "-D",
    ]);
    initdb.arg(folder.join("data"));
    succeed(&mut started(initdb));
    let mut postgres = postgres;
    postgres.arg("-D").arg(folder.join("data"));
    let port_option = format!("port={port}");
    let sockets = format!("unix_socket_directories={}", folder.display());
    let cert = format!("ssl_cert_file={}", folder.join("cert.pem").display());
    let key = format!("ssl_key_file={}", folder.join("key.pem").display());
    for option in [
        "ssl=on",
        "listen_addresses=127.0.0.1",
        &port_option,
        &sockets,
        &cert,
        &key,
    ] {
        postgres.args(["-c", option]);
    }
    let mut postgres = Running::start(&mut started(postgres), port);
    for protocol in ["-tls1_2", "-tls1_3"] {
        let mut client = Command::new("openssl");
        client.args([
            "s_client",
            "-starttls",
            "postgres",
            "-verify_return_error",
            protocol,
        ]);
        client
            .args(["-connect", &format!("localhost:{port}"), "-CAfile"])
            .arg(&certificate);
        succeed(client.stdin(std::process::Stdio::null()));
    }
    let log = postgres.stop();
    let _ = fs::remove_dir_all(&folder);
    assert!(log.contains("kind=rsa2048"), "{log}");
}
