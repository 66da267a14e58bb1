"""The four servers that are compared: the proxy with either library, and the libraries by themselves."""

import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

PATIENCE_S = 60


@dataclass(frozen=True)
class Server:
    """A server on a port of this machine."""

    library: str
    ours: bool
    key: str
    port: int

    @property
    def name(self) -> str:
        return f"{'spinlane' if self.ours else 'stock'} {self.library}, {self.key}"


def command(server: Server, root: Path, certificates: Path) -> list[str]:
    certificate, key = (str(certificates / f"{server.key}.{end}") for end in ("pem", "key"))
    address = f"127.0.0.1:{server.port}"
    if server.ours:
        proxy = [str(root / "target/release/spinlane"), "proxy", "--listen", address, "--backend", "respond"]
        return [*proxy, "--tls", server.library, "--cert", certificate, "--key", key]
    if server.library == "rustls":
        return [str(root / "target/release/stock-rustls"), certificate, key, address]
    # The proxy's settings: TLS 1.2 and 1.3, no renegotiation, no DHE, tickets in place of a cache.
    settings = ["-no_tls1", "-no_tls1_1", "-no_renegotiation", "-no_dhe", "-no_cache", "-quiet", "-www"]
    return ["openssl", "s_server", "-accept", address, "-cert", certificate, "-key", key, *settings]


class Running:
    """A server for as long as a `with` lasts. The proxy polls, so it gives way to what asks it."""

    def __init__(self, server: Server, root: Path, certificates: Path, logs: Path):
        self.server, self.log = server, logs / f"{server.name.replace(' ', '-').replace(',', '')}.log"
        self.command = ["nice", "-n", "8", *command(server, root, certificates)]

    def __enter__(self) -> Server:
        with self.log.open("w") as log:
            self.process = subprocess.Popen(self.command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        self.wait()
        return self.server

    def wait(self) -> None:
        end = time.monotonic() + PATIENCE_S
        while True:
            if self.process.poll() is not None:
                raise SystemExit(f"{self.server.name} ended: {self.log.read_text()[-500:]}")
            try:
                socket.create_connection(("127.0.0.1", self.server.port), timeout=1).close()
                return
            except OSError:
                if time.monotonic() > end:
                    raise SystemExit(f"{self.server.name} does not listen; see {self.log}") from None
                time.sleep(0.05)

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
