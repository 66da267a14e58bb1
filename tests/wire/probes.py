"""What testssl.sh, sslscan and tlslite-ng see of a server: an item and what was found, by name."""

import json
import re
import socket
import subprocess
import tempfile
from pathlib import Path
from xml.etree import ElementTree

from tlslite.api import HandshakeSettings, TLSConnection

from servers import Server

LIMIT_S = 540
# Attributes of sslscan's findings.
SHOWN = ("enabled", "supported", "secure", "vulnerable", "status", "curve")
# Of testssl.sh: what it says of the certificate, of HTTP, of its own lists and of the hour. Neither is TLS.
OTHER_THAN_TLS = re.compile(
    r"cert|HTTP|HSTS|HPKP|banner|cookie|security_headers|clock|scanTime|engine|service|host|rating|score|grade|"
    r"final|overall|cipher_order_|BREACH|OCSP|CRL|DNS|issuer|chain|optimal_proto|DROWN_hint|LUCKY13|intermediate|"
    r"TLS_timestamp|fallback_SCSV|IP|pre_128"
)


def testssl(server: Server) -> dict[str, str]:
    """Everything that testssl.sh finds but for certificates and HTTP."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "found.json"
        options = ["--quiet", "--color", "0", "--jsonfile", str(file), "--warnings", "off"]
        checks = ["--protocols", "--std", "--server-defaults", "--vulnerable", "--fs", "--server-preference"]
        target = f"127.0.0.1:{server.port}"
        done = subprocess.run(["testssl", *options, *checks, target], capture_output=True, text=True, timeout=LIMIT_S)
        if not file.exists():
            return {"(whole)": f"did not run: {(done.stderr or done.stdout)[-200:]}"}
        found = json.loads(file.read_text())
    items = (item for item in found if not OTHER_THAN_TLS.search(item["id"]))
    return {item["id"]: re.sub(r"\s+", " ", item["finding"]).strip() for item in items}


def sslscan(server: Server) -> dict[str, str]:
    """Protocols, suites, groups and signature algorithms that sslscan finds."""
    command = ["sslscan", "--xml=-", "--no-colour", "--show-sigs", "--no-check-certificate", f"127.0.0.1:{server.port}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S)
    try:
        root = ElementTree.fromstring(done.stdout)
    except ElementTree.ParseError:
        return {"(whole)": f"did not run: {(done.stderr or done.stdout)[-200:]}"}
    items = {}
    for found in root.iter():
        name = {
            "protocol": "{type}v{version}", "cipher": "{sslversion} {cipher}", "group": "{sslversion} group {name}",
            "connection-signature-algorithm": "{sslversion} signature {name}", "heartbleed": "heartbleed {sslversion}",
            "fallback": "fallback", "renegotiation": "renegotiation", "compression": "compression",
        }.get(found.tag)
        if name:
            what = {key: value for key, value in found.attrib.items() if key in SHOWN}
            items[name.format(**found.attrib)] = ", ".join(f"{key} {value}" for key, value in sorted(what.items())) or "yes"
    return items


def tlslite(server: Server) -> dict[str, str]:
    """Handshakes of tlslite-ng with one version, one suite and one group each, a request, and the session again."""
    ends = {}
    for version, name in (((3, 3), "TLS 1.2"), ((3, 4), "TLS 1.3")):
        for cipher in ("aes128gcm", "aes256gcm", "chacha20-poly1305", "aes128", "aes256", "aes128ccm", "3des"):
            for group in ("x25519", "secp256r1", "secp384r1", "secp521r1", "x448", "ffdhe2048", "x25519mlkem768"):
                settings = HandshakeSettings()
                settings.minVersion = settings.maxVersion = version
                settings.cipherNames = [cipher]
                settings.eccCurves = [group] if not group.startswith("ffdhe") else []
                settings.dhGroups = [group] if group.startswith("ffdhe") else []
                settings.keyShares = [group]
                ends[f"{name}, {cipher}, {group}"] = handshake(server, settings)
    return ends


def handshake(server: Server, settings: HandshakeSettings) -> str:
    """Shakes hands, asks for a page, and comes back with the session. Returns how far that went."""
    session, came = None, "nothing"
    for _ in range(2):
        try:
            with socket.create_connection(("127.0.0.1", server.port), timeout=20) as tcp:
                connection = TLSConnection(tcp)
                connection.handshakeClientCert(settings=settings, session=session, serverName="localhost")
                connection.send(b"GET / HTTP/1.0\r\n\r\n")
                answer = bytes(connection.read(min=12, max=4096))
                came = f"{answer[9:12].decode()}{', resumed' if connection.resumed else ''}"
                session = connection.session
        except Exception as wrong:  # every way to fail is a finding
            return f"{came}; {type(wrong).__name__}: {str(wrong)[:80]}" if session else f"{type(wrong).__name__}: {str(wrong)[:80]}"
    return came
