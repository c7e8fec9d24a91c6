"""Runs each suite past the sidecar and through it, compares every test, and writes docs/evidence/transparency.json.

A difference has a reason in `reasons/`, or the run fails. What was run stays in the work folder, so a second run goes on where
the first stopped; `FRESH=1` begins anew, and so does another sidecar.
"""
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from collections import Counter, defaultdict
from pathlib import Path

from suites import SUITES, Place
from world import World

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
GOOD = ("passed", "xfailed", "skipped")


class Admin:
    """Past the sidecar."""

    def __init__(self, world):
        self.world, self.port = world, world.server_port

    def __call__(self, sql, database):
        return self.world.admin(sql, database)

    def dsn(self, database):
        return self.world.dsn(self.port, database)

    def run(self, command, database):
        from world import PASSWORD, USER
        env = {**os.environ, "PGHOST": "127.0.0.1", "PGPORT": str(self.port), "PGUSER": USER, "PGPASSWORD": PASSWORD}
        subprocess.run([*map(str, command), database], check=True, capture_output=True, env=env)


def play(world, folder, name, port):
    run, database = SUITES[name]
    work = folder / "work" / name
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    world.fresh(database)
    begun = time.time()
    results = run(Place(folder, work, port, Admin(world), world.pg))
    return {"seconds": round(time.time() - begun), "tests": results}


class Reasons:
    """First those of the suite, then those of all. Of several that fit, the one whose words come first in what was said."""

    def __init__(self, name):
        self.found = []
        for file in (HERE / "reasons" / f"{name}.toml", HERE / "reasons/all.toml"):
            listed = tomllib.loads(file.read_text())["reason"] if file.exists() else []
            self.found.append([(one["row"], re.compile(one.get("said", "")), re.compile(one.get("tests", "")), one.get("kind", "wanted"))
                               for one in listed])

    def of(self, test, said):
        for listed in self.found:
            fits = []
            for row, words, tests, kind in listed:
                place = words.search(said)
                if place and tests.search(test):
                    fits.append((place.start(), row, kind))
            if fits:
                _, row, kind = min(fits, key=lambda fit: fit[0])
                return row, kind
        return None, None


def compare(name, direct, through):
    reasons, differences, unexplained = Reasons(name), defaultdict(lambda: {"kind": "", "tests": []}), {}
    for test, (outcome, _) in direct.items():
        # A subtest that was not reached has the words of the test that it is in.
        now, said = through.get(test) or ("missing", through.get(test.rsplit("/", 1)[0], ("", ""))[1])
        # What fails past the sidecar says nothing of it.
        if now == outcome or outcome not in GOOD:
            continue
        row, kind = reasons.of(test, said)
        if row is None:
            # One that holds others says nothing itself.
            within = "\n".join(words for other, (_, words) in through.items() if other.startswith(test + "/"))
            row, kind = reasons.of(test, within)
        if row is None:
            unexplained[test] = {"directly": outcome, "through": now, "said": said[-1500:]}
        else:
            differences[row]["kind"] = kind
            differences[row]["tests"].append(test)
    return differences, unexplained


def summary(name, direct, through):
    differences, unexplained = compare(name, direct["tests"], through["tests"])
    count = lambda run: Counter(outcome for outcome, _ in run["tests"].values())
    return {
        "tests": len(direct["tests"]),
        "passed_directly": count(direct)["passed"],
        "passed_through": count(through)["passed"],
        "skipped_directly": count(direct)["skipped"],
        "failed_directly": len(direct["tests"]) - sum(count(direct)[one] for one in GOOD),
        "seconds_directly": direct["seconds"],
        "seconds_through": through["seconds"],
        "differences": sum(len(one["tests"]) for one in differences.values()) + len(unexplained),
        "by_reason": {f"{one['kind']}: {row}": len(one["tests"]) for row, one in
                      sorted(differences.items(), key=lambda pair: (-len(pair[1]["tests"]), pair[0]))},
        "unexplained": sorted(unexplained),
    }, unexplained


def main(folder, programs, *names):
    folder, programs = Path(folder), Path(programs)
    kept = folder / "results"
    kept.mkdir(parents=True, exist_ok=True)
    sidecar = hashlib.sha256((programs / "agentaccess-sidecar").read_bytes()).hexdigest()
    names = names or list(SUITES)
    for name in names:
        if name not in SUITES:
            sys.exit(f"error: no suite `{name}`; there are {', '.join(SUITES)}")

    def result(name, way):
        file = kept / f"{name}-{way}.json"
        if not os.environ.get("FRESH") and file.exists():
            found = json.loads(file.read_text())
            if way == "direct" or found["sidecar"] == sidecar:
                return found
        return None

    todo = [(name, way) for name in names for way in ("direct", "through") if result(name, way) is None]
    if todo:
        world = World(Path(os.environ.get("TMPDIR", "/tmp")) / f"agentaccess-transparency-{os.getpid()}", programs)
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        try:
            world.start()
            for name, way in todo:
                print(f"==> {name}, {way}", flush=True)
                played = play(world, folder, name, world.server_port if way == "direct" else world.port)
                played["sidecar"] = sidecar
                (kept / f"{name}-{way}.json").write_text(json.dumps(played, indent=1))
                print(dict(Counter(outcome for outcome, _ in played["tests"].values())), f"{played['seconds']} s", flush=True)
                shutil.copy(world.folder / "gate.log", kept / f"{name}-{way}.log")
        finally:
            world.stop()
            shutil.rmtree(world.folder, ignore_errors=True)
    os.environ.pop("FRESH", None)
    report(folder, kept)


def report(folder, kept):
    evidence = ROOT / "docs/evidence/transparency.json"
    git = lambda *command: subprocess.run(["git", *command], cwd=ROOT, capture_output=True, text=True).stdout.strip()
    suites, left = {}, 0
    for name in SUITES:
        files = [kept / f"{name}-{way}.json" for way in ("direct", "through")]
        if not all(file.exists() for file in files):
            continue
        direct, through = (json.loads(file.read_text()) for file in files)
        suites[name], unexplained = summary(name, direct, through)
        # They need not all have been run on one.
        suites[name]["sidecar_sha256"] = through["sidecar"]
        suites[name]["version"] = json.loads((folder / "versions.json").read_text()).get(name if name in ("tokio-postgres", "node-postgres") else name.split("-")[0], "")
        (kept / f"{name}-unexplained.json").write_text(json.dumps(unexplained, indent=1))
        one = suites[name]
        left += len(unexplained)
        print(f"{name:20} {one['tests']:6} tests, {one['passed_directly']:6} passed directly, {one['passed_through']:6} through, "
              f"{one['differences']:5} differences, {len(unexplained)} unexplained")
    evidence.write_text(json.dumps({
        "commit": git("rev-parse", "HEAD"),
        "cores": os.cpu_count(),
        "figures": suites,
        "finished_unix_s": int(time.time()),
        "uncommitted_changes": bool(git("status", "--porcelain", "--", ".", ":!docs/evidence")),
    }, indent=2, sort_keys=True) + "\n")
    if left:
        sys.exit(f"error: {left} differences without a reason; see {kept}/*-unexplained.json")


if __name__ == "__main__":
    main(*sys.argv[1:])
