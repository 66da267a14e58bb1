"""tlsfuzzer's scripts, one after the other, and how each of their conversations ended."""

import os
import re
import subprocess
import sys
from pathlib import Path

from servers import Server

# Conversations of a script: so many, drawn by the same numbers for every server.
CONVERSATIONS = 20
LIMIT_S = 120
# The scripts draw by the module random.
SEEDED = "import random, runpy, sys; random.seed(1); sys.argv[0:1] = []; runpy.run_path(sys.argv[0], run_name='__main__')"

# Scripts that are not run, by the start of their names, and why.
LEFT_OUT = {
    "_stub": "no test",
    "marvin-": "makes ciphertexts for a test of time",
    "rsa-keys-": "makes keys",
    "test-bleichenbacher-timing": "a test of time, which wants a quiet network and hours",
    "test-lucky13": "a test of time",
    "test-tls13-minerva": "a test of time",
    "test-dhe-no-shared": "a test of time",
    "test-ecdhe-padded-shared": "a test of time",
    "test-tls13-dhe-shared": "a test of time",
    "test-ecdsa-in-certificate-verify": "needs a client's certificate",
    "test-dsa-in-certificate-verify": "needs a client's certificate",
    "test-eddsa-in-certificate-verify": "needs a client's certificate",
    "test-certificate-": "needs a client's certificate",
    "test-extended-master-secret-extension-with": "needs a client's certificate",
    "test-renegotiation-disabled-client-cert": "needs a client's certificate",
    "test-rsa-pss-sigs-on-certificate-verify": "needs a client's certificate",
    "test-rsa-sigs-on-certificate-verify": "needs a client's certificate",
    "test-tls13-certificate-request": "needs a client's certificate",
    "test-tls13-certificate-verify": "needs a client's certificate",
    "test-tls13-client-certificate": "needs a client's certificate",
    "test-tls13-ecdsa-brainpool": "needs a client's certificate",
    "test-tls13-ecdsa-in-certificate-verify": "needs a client's certificate",
    "test-tls13-eddsa-in-certificate-verify": "needs a client's certificate",
    "test-tls13-mldsa-in-certificate-verify": "needs a client's certificate",
    "test-tls13-post-handshake-auth": "needs a client's certificate",
}
# Scripts that want another key than RSA.
OF_KEY = {"test-tls13-ecdsa-support": "p256", "test-ecdsa-sig-flexibility": "p256"}


def scripts(tlsfuzzer: Path, key: str) -> list[Path]:
    """The scripts for a server with such a key."""
    every = sorted((tlsfuzzer / "scripts").glob("*.py"))
    run = (one for one in every if not any(one.name.startswith(start) for start in LEFT_OUT))
    return [one for one in run if OF_KEY.get(one.stem, "rsa") == key]


def run(tlsfuzzer: Path, script: Path, server: Server) -> dict[str, str]:
    """Runs a script. Returns how each conversation ended: `pass`, or what was wrong."""
    arguments = [str(script), "-h", "127.0.0.1", "-p", str(server.port), "-n", str(CONVERSATIONS)]
    environment = {**os.environ, "PYTHONPATH": str(tlsfuzzer), "PYTHONHASHSEED": "1"}
    try:
        done = subprocess.run(
            [sys.executable, "-c", SEEDED, *arguments],
            env=environment, capture_output=True, text=True, timeout=LIMIT_S, errors="replace",
        )
    except subprocess.TimeoutExpired as late:
        return {**read((late.stdout or b"").decode(errors="replace")), "(whole)": f"not done in {LIMIT_S} s"}
    ends = read(done.stdout)
    if not ends:
        lines = (done.stderr or done.stdout).strip().splitlines() or ["nothing"]
        ends["(whole)"] = f"did not run: {lines[-1]}"
    return ends


def read(output: str) -> dict[str, str]:
    """Reads a script's output: a conversation's name and ` ...`, what went wrong, and a verdict."""
    ends: dict[str, str] = {}
    name, wrong = None, ""
    for line in output.splitlines():
        if line.endswith(" ...") and not line.startswith(" "):
            name, wrong = line.removesuffix(" ..."), ""
        elif name and re.match(r"[\w.]*(Error|Exception|Alert|Failure)\b", line):
            wrong = line
        elif name and line in ("OK", "OK-expected failure", "XFAIL"):
            ends.setdefault(name, "pass")
        elif line.startswith("Test end"):
            break
        if name and wrong:
            ends[name] = normal(wrong)
    return ends


def normal(text: str) -> str:
    """What is left of a message without what differs from run to run."""
    text = re.sub(r"0x[0-9a-f]{6,}", "0x…", text)
    return re.sub(r"\blen=\d+", "len=…", text)[:160]


def drawn(ours: dict[str, str], stock: dict[str, str]) -> None:
    """Some scripts draw their conversations by the machine's random numbers. What only one side has drawn is not compared by
    name, but by the ways in which it ended."""
    for own, other in ((ours, stock), (stock, ours)):
        for name in own.keys() - other.keys() - {"(drawn)"}:
            own["(drawn)"] = own.get("(drawn)", set()) | {own.pop(name)}
    for own in (ours, stock):
        if "(drawn)" in own:
            own["(drawn)"] = " | ".join(sorted(own["(drawn)"]))
