#!/usr/bin/env python3
"""Run the benchmarks of suite.yaml and compare them with the baseline of the same kind of machine.

  tools/bench/run_suite.py cpu|gpu [--only NAME ...] [--save [--note TEXT]] [--tolerance 0.1]
  tools/bench/run_suite.py docs          # write the tables of docs/benchmarks.md from all baselines

What is compared is the ratio to the peer in the same run, or the value itself where there is no peer: such
rows are marked, and say as much about what else the machine does. A figure got worse where it falls by more
than the tolerance and more than it differed between repeated runs, then or now. On CPUs all run on one thread
unless OMP_NUM_THREADS is set.

Exit status: 1 where a benchmark failed, or a figure of the baseline is missing; else 2 where one got worse.
"""

import argparse
import json
import os
import re
import shlex
import statistics
import subprocess
import sys
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import yaml

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PAGE = ROOT / "docs" / "benchmarks.md"
MARKERS = "<!-- tables: make bench -->\n", "<!-- end of tables -->\n"
PACKAGES = "torch", "transformers", "numpy", "kaldiio", "onnxruntime", "mamba_ssm"
LONGEST = 1200  # seconds of one run of a benchmark


class Failed(Exception):
    """A benchmark did not run to its end."""


def load_suite(path: Path) -> dict[str, list[dict]]:
    return yaml.safe_load(path.read_text())


def load_baselines(folder: Path) -> list[dict]:
    return [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]


def baseline_path(folder: Path, machine: str) -> Path:
    return folder / (re.sub(r"[^a-z0-9]+", "_", machine.lower()).strip("_") + ".json")


def kind_of_machine(device: str) -> str:
    """Model and cores of the CPU, or name of the GPU."""
    if device == "gpu":
        return output("nvidia-smi", "--query-gpu=name", "--format=csv,noheader").splitlines()[0]
    found = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return f"{found[1] if found else os.uname().machine}, {len(os.sched_getaffinity(0))} cores"


def output(*words: str) -> str:
    try:
        return subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError) as error:
        raise SystemExit(f"{words[0]} does not run here: {error}") from None


def conditions() -> dict:
    """Git revision, versions and load of the machine."""
    found = {"python": sys.version.split()[0]}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    revision = "unknown"
    if (ROOT / ".git").exists():
        revision = output("git", "describe", "--always", "--dirty", "--exclude=*")
    return {"revision": revision, "versions": found, "load": round(os.getloadavg()[0], 1)}


def run_once(bench: dict, folder: Path, environment: dict) -> dict[str, dict]:
    """Records of one run, by name."""
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch, "figures.json")
        script, *words = shlex.split(bench["command"].replace("{scratch}", scratch))
        command = [sys.executable, str(folder / script), *words, "--json", str(file)]
        try:
            done = subprocess.run(
                command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=LONGEST
            )
        except subprocess.TimeoutExpired:
            raise Failed(f"took longer than {LONGEST} s") from None
        if done.returncode or not file.exists():
            last = (done.stderr.strip() or done.stdout.strip() or "it said nothing").splitlines()[-1]
            raise Failed(f"status {done.returncode}, {last}")
        return {record["name"]: record for record in json.loads(file.read_text())}


def ratio(record: dict) -> float | None:
    """How many times as good as the peer; None where there is none."""
    if record["peer"] is None:
        return None
    one, other = record["value"], record["peer"]
    return one / other if record["higher_is_better"] else other / one


def merit(record: dict) -> float:
    """What is compared: the ratio to the peer, else the value or its inverse; more is better."""
    if record["peer"] is None:
        return record["value"] if record["higher_is_better"] else 1 / record["value"]
    return ratio(record)


def summarise(repeated: list[dict]) -> dict:
    """The run of median merit, with the spread: how far the merits lie apart, as a part of their median."""
    ordered = sorted(repeated, key=merit)
    middle = ordered[(len(ordered) - 1) // 2]
    spread = (merit(ordered[-1]) - merit(ordered[0])) / statistics.median(map(merit, ordered))
    return middle | {"spread": round(spread, 3) if len(ordered) > 1 else None}


def measure(bench: dict, folder: Path, environment: dict) -> list[dict]:
    runs = [run_once(bench, folder, environment) for _ in range(bench.get("runs", 2))]
    return [summarise([run[name] for run in runs if name in run]) for name in runs[0]]


def compare(records: list[dict], before: list[dict], tolerance: float) -> tuple[list[str], list[str]]:
    """Print a row for each figure; returns what got worse, and what the baseline has and these have not."""
    known, worse = {record["name"]: record for record in before}, []
    for record in records:
        name, old, times = record["name"], known.pop(record["name"], None), ratio(record)
        row = [name, number(record["value"]), number(record["peer"]), number(times), "–", ""]
        if old and (old["peer"] is None) != (record["peer"] is None):
            row[5] = "not comparable: the peer ran only once"
        elif old:
            change = merit(record) / merit(old) - 1
            row[4] = number(old["value"] if times is None else ratio(old))
            row[5] = f"{100 * change:+.0f} %"
            allowed = max(tolerance, old["spread"] or 0, record["spread"] or 0)
            if change < -allowed:
                row[5] += " WORSE"
                worse.append(f"{name}: {-100 * change:.0f} % worse, {100 * allowed:.0f} % allowed")
        row[5] += "" if record["peer"] is not None else "  (value, no peer)"
        print("  {:<48}{:>10}{:>10}{:>8}{:>10}  {}".format(*row), flush=True)
    return worse, list(known)


def run(device: str, args) -> int:
    suite, machine = load_suite(args.suite)[device], kind_of_machine(device)
    if unknown := set(args.only or ()) - {bench["name"] for bench in suite}:
        raise SystemExit(f"{args.suite}: no benchmark {', '.join(sorted(unknown))} for {device}")
    path = baseline_path(args.suite.parent / "baselines", machine)
    baseline = json.loads(path.read_text()) if path.exists() else {"machine": machine, "benches": {}}
    search = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    environment = os.environ | {"PYTHONPATH": search}
    if device == "cpu":
        environment.setdefault("OMP_NUM_THREADS", "1")
    print(f"{machine}; baseline: {path if path.exists() else 'none yet'}")
    print("  {:<48}{:>10}{:>10}{:>8}{:>10}  {}".format("", "asvtk", "peer", "ratio", "baseline", "change"))
    failed, worse = [], []
    for bench in suite:
        name = bench["name"]
        if args.only and name not in args.only:
            continue
        print(f"{name}: {bench['command']}", flush=True)
        now = conditions()
        try:
            records = measure(bench, args.suite.parent, environment)
        except Failed as error:
            failed.append(f"{name}: {error}")
            print(f"  failed: {error}", flush=True)
            continue
        old = baseline["benches"].get(name)
        if old and old["command"] != bench["command"]:
            print(f"  not compared: the baseline is of {old['command']}")
            old = None
        slower, missing = compare(records, old["records"] if old else [], args.tolerance)
        worse += [f"{name}, {line}" for line in slower]
        failed += [f"{name}: {line} is in the baseline, and was not measured" for line in missing]
        if args.save:
            note = {"note": args.note} if args.note else {}
            baseline["benches"][name] = {"command": bench["command"], **now, **note, "records": records}
            path.parent.mkdir(exist_ok=True)
            path.write_text(json.dumps(baseline, indent=1, ensure_ascii=False) + "\n")
    for title, lines in ("Failed", failed), ("Worse", worse):
        print("\n".join([f"{title}:", *(f"  {line}" for line in lines)]) if lines else f"{title}: none")
    return 1 if failed else 2 if worse else 0


def number(x: float | None) -> str:
    if x is None:
        return "–"
    return f"{x:,.0f}" if abs(x) >= 1000 else f"{x:.4g}" if abs(x) >= 100 else f"{x:.3g}"


def tables(suite: dict, baselines: list[dict]) -> str:
    """Markdown of all baselines, by section of the suite."""
    sections = {}
    for bench in (bench for benches in suite.values() for bench in benches):
        of_section = sections.setdefault(bench["section"], [])
        if bench["name"] not in of_section:
            of_section.append(bench["name"])
    peers = {(device, bench["name"]): bench for device, benches in suite.items() for bench in benches}
    text = []
    for section, names in sections.items():
        parts = []
        for baseline in baselines:
            device = "gpu" if "NVIDIA" in baseline["machine"] else "cpu"
            for name in names:
                if name in baseline["benches"] and (device, name) in peers:
                    parts += table(baseline["machine"], baseline["benches"][name], peers[device, name])
        if parts:
            text += [f"## {section}\n", *parts]
    return "\n".join(text)


def table(machine: str, entry: dict, bench: dict) -> list[str]:
    versions = ", ".join(f"{package} {found}" for package, found in entry["versions"].items())
    where = [f"git revision {entry['revision']}" if entry["revision"] else "", versions]
    where += [f"load {entry['load']}" if entry.get("load") is not None else "", entry.get("source", "")]
    lines = [f"**{machine}**: {bench['what']} ({'; '.join(filter(None, where))})\n"]
    lines += [f"`tools/bench/{entry['command']}`\n"]
    lines += [
        f"| | asvtk | {bench.get('peer') or 'peer'} | unit | ratio | spread |",
        "|---|--:|--:|---|--:|--:|",
    ]
    for record in entry["records"]:
        spread = "–" if record["spread"] is None else f"{100 * record['spread']:.0f} %"
        cells = [
            number(record["value"]),
            number(record["peer"]),
            record["unit"],
            number(ratio(record)),
            spread,
        ]
        lines.append(f"| {record['name']} | " + " | ".join(cells) + " |")
    return [*lines, "", *([entry["note"] + "\n"] if "note" in entry else [])]


def fill_page(page: str, suite: dict, baselines: list[dict]) -> str:
    """The page with the tables of these baselines between its two markers."""
    head, _, rest = page.partition(MARKERS[0])
    _, _, tail = rest.partition(MARKERS[1])
    return head + MARKERS[0] + "\n" + tables(suite, baselines) + "\n" + MARKERS[1] + tail


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("cpu", "gpu", "docs"))
    parser.add_argument("--only", nargs="+", metavar="NAME", help="of the suite")
    parser.add_argument("--save", action="store_true", help="what was measured is the baseline from now on")
    parser.add_argument("--note", metavar="TEXT", help="kept with what is saved, such as what disturbed it")
    parser.add_argument("--tolerance", type=float, default=0.1, metavar="PART", help="default: %(default)s")
    parser.add_argument(
        "--suite", type=Path, default=HERE / "suite.yaml", metavar="FILE", help="baselines/ lies beside it"
    )
    args = parser.parse_args()
    if args.what != "docs":
        return run(args.what, args)
    baselines = load_baselines(args.suite.parent / "baselines")
    PAGE.write_text(fill_page(PAGE.read_text(), load_suite(args.suite), baselines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
