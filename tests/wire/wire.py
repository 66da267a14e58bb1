"""Compares what other people's tools see of the proxy with what they see of the stock libraries.

Run by tools/wire.sh, which makes certificates and fetches tools. Writes docs/wire.md. A difference fails it unless
explained.toml beside this file explains it.
"""

import argparse
import datetime
import itertools
import json
import os
import platform
import subprocess
import sys
import tomllib
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from importlib.metadata import version
from pathlib import Path

import fuzzer
import probes
from servers import Running, Server

# A difference counts if it is there so many times in a row: on a busy machine answers come late.
TRIES = 3
ALL_TOOLS = "tlsfuzzer,testssl,sslscan,tlslite-ng"
PROBES = {"testssl": probes.testssl, "sslscan": probes.sslscan, "tlslite-ng": probes.tlslite}


@dataclass(frozen=True)
class Difference:
    tool: str
    library: str
    item: str
    ours: str
    stock: str
    why: str | None = None


class Explanations:
    """What is explained: by tool, library, item and finding, each a pattern as for file names."""

    def __init__(self, file: Path):
        self.rules = tomllib.loads(file.read_text()).get("difference", [])
        self.used: set[int] = set()

    def of(self, difference: Difference) -> str | None:
        for number, rule in enumerate(self.rules):
            wanted = ((getattr(difference, key), rule.get(key, "*")) for key in ("tool", "library", "item", "ours", "stock"))
            if all(fnmatchcase(has, escape(pattern)) for has, pattern in wanted):
                self.used.add(number)
                return rule["why"]
        return None


def escape(pattern: str) -> str:
    """Brackets stand for themselves; findings have many."""
    return pattern.replace("[", "[[]")


def differing(ours: dict[str, str], stock: dict[str, str]) -> dict[str, tuple[str, str]]:
    names = sorted(ours.keys() | stock.keys())
    return {
        name: (ours.get(name, "absent"), stock.get(name, "absent"))
        for name in names
        if ours.get(name) != stock.get(name)
    }


def compare(run, ours: Server, stock: Server) -> tuple[dict, dict]:
    """Runs against both at once until nothing differs, or differs in the same way. Returns the differences and the stock
    library's findings."""
    left = None
    for _ in range(TRIES):
        with ThreadPoolExecutor(2) as pool:
            seen, of_stock = pool.map(run, (ours, stock))
        fuzzer.drawn(seen, of_stock)
        now = differing(seen, of_stock)
        left = now if left is None else {name: how for name, how in now.items() if left.get(name) == how}
        if not left:
            break
    return left, of_stock


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__)
    for name in ("root", "certificates", "work"):
        arguments.add_argument(f"--{name}", type=Path, required=True)
    arguments.add_argument("--tools", default=ALL_TOOLS)
    arguments.add_argument("--libraries", default="openssl,rustls")
    arguments.add_argument("--scripts", default="*", help="tlsfuzzer's scripts, as a pattern")
    arguments.add_argument("--report", action="store_true", help="run nothing: explain what the last whole run found")
    given = arguments.parse_args()
    seen = given.work / "wire.json"
    missing: set[str] = set()
    if given.report:
        runs = [tuple(run) for run in json.loads(seen.read_text())]
    else:
        sides = [(library, key) for library in given.libraries.split(",") for key in ("rsa", "p256")]
        with ThreadPoolExecutor(len(sides)) as pool:
            of_sides = pool.map(lambda port, side: run_side(given, port, *side, missing), ports(), sides)
            runs = [run for of_side in of_sides for run in of_side]
    whole = not missing and given.tools == ALL_TOOLS and given.scripts == "*" and given.libraries.count(",") == 1
    if whole and not given.report:
        seen.write_text(json.dumps(runs))
    return report(given.root, runs, missing, whole)


def ports():
    """Two for each side, others than those of another call that runs now."""
    return itertools.count(20_000 + os.getpid() * 16 % 20_000, 2)


def run_side(given, port: int, library: str, key: str, missing: set[str]) -> list[tuple]:
    """Everything against one library with one key: tool, library, name, differences, and the stock library's findings."""
    ours, stock = Server(library, True, key, port), Server(library, False, key, port + 1)
    tlsfuzzer, runs = os.environ.get("TLSFUZZER"), []
    with Running(ours, given.root, given.certificates, given.work), Running(stock, given.root, given.certificates, given.work):
        for tool in given.tools.split(","):
            for name, run in work(tool, tlsfuzzer, key, given.scripts, missing):
                differences, of_stock = compare(run, ours, stock)
                print(f"{library}, {key}: {name}: {len(of_stock)} items, {len(differences)} differ", flush=True)
                runs.append((tool, library, name, differences, of_stock))
    return runs


def report(root: Path, runs: list[tuple], missing: set[str], whole: bool) -> int:
    explanations = Explanations(Path(__file__).with_name("explained.toml"))
    found = []
    for tool, library, name, differences, _ in runs:
        for item, (our, their) in differences.items():
            item = f"{name}: {item}" if tool == "tlsfuzzer" else item
            one = Difference(tool, library, item, our, their)
            found.append(replace(one, why=explanations.of(one)))
    unexplained = [one for one in found if one.why is None]
    if whole:
        write(root / "docs/wire.md", found, runs)
    for one in unexplained:
        print(f"UNEXPLAINED {one.tool}, {one.library}: {one.item}\n    ours:  {one.ours}\n    stock: {one.stock}")
    for number, rule in enumerate(explanations.rules):
        if whole and number not in explanations.used:
            print(f"note: nothing differs any more in the way of: {rule['why'][:90]}")
    for what in sorted(missing):
        print(f"SKIPPED {what}")
    print(f"{len(found)} differences, {len(unexplained)} of them unexplained")
    return 1 if unexplained else 0


def work(tool: str, tlsfuzzer: str | None, key: str, pattern: str, missing: set[str]):
    if tool == "tlsfuzzer":
        if not tlsfuzzer or not (Path(tlsfuzzer) / "scripts").is_dir():
            missing.add("tlsfuzzer: no registry has it; check it out and give TLSFUZZER=DIR")
            return []
        scripts = (one for one in fuzzer.scripts(Path(tlsfuzzer), key) if fnmatchcase(one.stem, pattern))
        return [(one.stem, lambda server, one=one: fuzzer.run(Path(tlsfuzzer), one, server)) for one in scripts]
    return [(tool, PROBES[tool])] if key == "rsa" else []


def said(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True)
    return next((line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()), "?")


def rustls_version(root: Path) -> str:
    packages = tomllib.loads((root / "Cargo.lock").read_text())["package"]
    return next(one["version"] for one in packages if one["name"] == "rustls")


def write(file: Path, found: list[Difference], runs: list[tuple]):
    """The document: versions, differences by explanation, and where the stock libraries themselves fail."""
    counts: Counter = Counter()
    failing: dict[str, dict[str, str]] = {}
    for tool, library, name, _, of_stock in runs:
        counts[tool, library] += len(of_stock)
        if tool == "tlsfuzzer":
            wrong = sum(end != "pass" for end in of_stock.values())
            failing.setdefault(name, {})[library] = f"{wrong} of {len(of_stock)}"
    lines = [
        "# What others' tools see on the wire",
        "",
        "Written by `make wire`; do not edit. Each tool speaks to `spinlane proxy --tls LIBRARY` and to the stock library of the same",
        "name, and what it sees is compared. `make wire` fails where a difference is not explained below. Explanations stand in",
        "`tests/wire/explained.toml`.",
        "",
        f"{datetime.date.today()}, {platform.machine()}. {said('openssl', 'version')}; rustls {rustls_version(file.parent.parent)};",
        f"testssl.sh {said('dpkg-query', '-W', '-f', '${Version}', 'testssl.sh')};"
        f" sslscan {said('dpkg-query', '-W', '-f', '${Version}', 'sslscan')}; tlslite-ng {version('tlslite-ng')};",
        f"tlsfuzzer {os.environ.get('TLSFUZZER_VERSION', 'of unknown version')}.",
        "",
        "The stock servers are `openssl s_server -www` with the proxy's settings (TLS 1.2 and 1.3, no renegotiation, no DHE, no",
        "session cache) and a small server of stock rustls (`tests/wire`). Keys are RSA-2048, and P-256 for two scripts.",
        "",
        "| tool | openssl: items compared | rustls: items compared | of these differ |",
        "|---|---|---|---|",
    ]
    for tool in ("tlsfuzzer", *PROBES):
        differ = sum(one.tool == tool for one in found)
        lines.append(f"| {tool} | {counts[tool, 'openssl']} | {counts[tool, 'rustls']} | {differ} |")
    lines += ["", "## Differences, each explained", "", "| tool, library | why | items |", "|---|---|---|"]
    by_why: dict[tuple[str, str, str], list[Difference]] = {}
    for one in found:
        by_why.setdefault((one.tool, one.library, one.why or "**unexplained**"), []).append(one)
    for (tool, library, why), ones in sorted(by_why.items()):
        first = ones[0]
        shown = f"{first.item}: ours `{first.ours}`, stock `{first.stock}`".replace("|", "\\|")
        if len(ones) > 1:
            of_script = Counter(one.item.split(":")[0] for one in ones)
            shown += "; in all " + ", ".join(f"{script} {count}" for script, count in sorted(of_script.items()))
        lines.append(f"| {tool}, {library} | {why} | {shown} |")
    lines += [
        "", "## Where the stock libraries themselves do not do what tlsfuzzer's scripts want", "",
        "Many scripts ask for RSA key exchange, CBC suites, DHE or TLS 1.1 in their first conversation, which rustls does not have and the",
        "settings above leave out in part. The figures are those of the stock servers. Where ours differs it stands above.", "",
        "| script | openssl fails | rustls fails |", "|---|---|---|",
    ]
    for script, of in sorted(failing.items()):
        if any(not text.startswith("0 of") for text in of.values()):
            lines.append(f"| {script} | {of.get('openssl', '-')} | {of.get('rustls', '-')} |")
    lines += ["", "Not run:", ""]
    by_reason: dict[str, list[str]] = {}
    for start, why in fuzzer.LEFT_OUT.items():
        by_reason.setdefault(why, []).append(f"`{start}*`")
    lines += [f"- {', '.join(starts)}: {why}" for why, starts in by_reason.items()]
    file.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    sys.exit(main())
