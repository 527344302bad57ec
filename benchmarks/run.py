"""Run the benchmarks of `manifest.toml` one after the other and write what they say, with the machine they ran on.

    python -m benchmarks.run [NAME ...] [--all] [--minutes 30] [--out docs/results]    (make bench, also with BENCH=all)

OUT/benchmarks.json receives each benchmark when it ends: command, date, commit, machine, output and every run of every
way that is compared; OUT/benchmarks.md is written from it. A benchmark that is not run keeps what an earlier run said;
one for which no time is left, or that is stopped when it is over, says so.
Exit code 1 where one failed. Nothing else should run on the machine: its load is noted.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

from benchmarks.figures import FILE, Comparison, processor

ROOT: Final = Path(__file__).resolve().parents[1]
WORK: Final = ROOT / "build" / "benchmarks"
REFERENCE: Final = Path(os.environ.get("FEDPET_REFERENCE_DATA", ROOT.parent / "shared" / "data"))
PACKAGES: Final = ("numpy", "scipy", "pydicom", "SimpleITK", "monai", "torch", "onnxruntime-gpu", "openvino", "captum")


@dataclass(frozen=True)
class Benchmark:
    """One line of the manifest.

    Attributes:
        name: of the script.
        arguments: of this run, or None where the script is left to the long run.
        needs: paths without which it cannot run.
    """

    name: str
    arguments: tuple[str, ...] | None
    needs: tuple[str, ...] = ()


def read_manifest(*, everything: bool) -> tuple[list[Benchmark], dict[str, list[str]]]:
    """The benchmarks with the arguments of the quick or of the long run, and the cohorts that they read."""
    manifest = tomllib.loads((ROOT / "benchmarks" / "manifest.toml").read_text(encoding="utf-8"))
    found = []
    for name, entry in manifest["benchmarks"].items():
        chosen = entry.get("all", entry.get("quick")) if everything else entry.get("quick")
        arguments = None if chosen is None else tuple(chosen)
        found.append(Benchmark(name, arguments, tuple(entry.get("needs", ()))))
    named = {*manifest["benchmarks"], *manifest["not_measured"], "__init__"}
    others = sorted({path.stem for path in (ROOT / "benchmarks").glob("*.py")} - named)
    return [*found, *(Benchmark(name, () if everything else None) for name in others)], manifest["cohorts"]


def machine() -> dict[str, Any]:
    """What ran the benchmarks; no name of the machine or of a person."""
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "not installed"
    return {
        "processor": processor(),
        "cores": os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "gpu": _gpu(),
        "system": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "packages": versions,
    }


def _gpu() -> str:
    program = shutil.which("nvidia-smi")
    if program is None:
        return "none"
    asked = [program, "--query-gpu=name", "--format=csv,noheader"]
    done = subprocess.run(asked, capture_output=True, text=True, check=False)  # noqa: S603  the driver's own tool
    return ", ".join(done.stdout.split("\n")).strip(", ") or "none"


def _commit() -> str:
    git = shutil.which("git")
    if git is None or not (ROOT / ".git").exists():
        return ""
    asked = [git, "-C", str(ROOT), "describe", "--always", "--dirty"]
    return subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()  # noqa: S603  as above


def _filled(arguments: tuple[str, ...], cohorts: dict[str, list[str]]) -> list[str]:
    """The arguments with their places; a cohort is simulated when it is first asked for."""
    filled = []
    for one in arguments:
        name = one.strip("{}")
        if name in cohorts:
            place = WORK / name
            if not (place / "cohort.json").exists():
                shutil.rmtree(place, ignore_errors=True)
                simulate = [sys.executable, "-m", "app.cli", "cohort", "simulate", *cohorts[name], "--out", str(place)]
                subprocess.run(simulate, check=True, cwd=ROOT, env=_environment())  # noqa: S603  our own command
            filled.append(str(place))
        else:
            filled.append(one.format(work=WORK, reference=REFERENCE))
    return filled


def _environment() -> dict[str, str]:
    python = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH", ""))))
    return {**os.environ, "PYTHONPATH": python, "OMP_NUM_THREADS": "1", "FEDPET_HOME": str(WORK / "home")}


def measure(benchmark: Benchmark, cohorts: dict[str, list[str]], seconds: float | None = None) -> dict[str, Any]:
    """Run one benchmark, for so many seconds at most; its entry in the JSON."""
    absent = [one for one in benchmark.needs if not Path(one.format(reference=REFERENCE)).exists()]
    shown = " ".join(["python", f"benchmarks/{benchmark.name}.py", *(benchmark.arguments or ())])
    entry = {"command": shown, "date": datetime.now(UTC).date().isoformat(), "commit": _commit(), "machine": machine()}
    if absent:
        return {**entry, "left_out": f"needs {', '.join(absent)}"}
    if seconds is not None and seconds <= 0:
        return {**entry, "left_out": "had no time left"}
    figures = WORK / f"{benchmark.name}.json"
    figures.unlink(missing_ok=True)
    command = [sys.executable, "-m", f"benchmarks.{benchmark.name}", *_filled(benchmark.arguments or (), cohorts)]
    load, began = os.getloadavg()[0], time.monotonic()
    environment = {**_environment(), FILE: str(figures)}
    try:
        done = _finished(command, environment, seconds)
    except subprocess.TimeoutExpired:
        return {**entry, "left_out": f"took longer than the {seconds:.0f} s that were left"}
    words = done.stdout if done.returncode == 0 else f"{done.stdout}\n{done.stderr[-2000:]}"
    compared = json.loads(figures.read_text(encoding="utf-8")) if figures.exists() else []
    entry |= {"seconds": round(time.monotonic() - began), "load_before": round(load, 2), "exit": done.returncode}
    return {**entry, "output": _without_places(words), "comparisons": compared}


def _finished(
    command: list[str], environment: dict[str, str], seconds: float | None
) -> subprocess.CompletedProcess[str]:
    """The finished process; when the time is over it is killed with all that it started."""
    pipe = subprocess.PIPE
    with subprocess.Popen(  # noqa: S603  our own script
        command, stdout=pipe, stderr=pipe, text=True, cwd=ROOT, env=environment, start_new_session=True
    ) as process:
        try:
            said = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    return subprocess.CompletedProcess(command, process.returncode, *said)


def _without_places(text: str) -> str:
    """The output without the folders of this machine."""
    for place, name in ((WORK, "{work}"), (REFERENCE, "{reference}"), (ROOT, "."), (Path.home(), "~")):
        text = text.replace(str(place), name)
    return text.strip()


def page(entries: dict[str, dict[str, Any]]) -> str:
    """The page of the documentation, from the entries of the JSON."""
    lines = [
        "# Benchmarks",
        "",
        "Written by `make bench` (`make bench BENCH=all` for the long ones), which runs the scripts of `benchmarks/`",
        "as `benchmarks/manifest.toml` says; every run is in [benchmarks.json](benchmarks.json). Compare ratios within",
        "one table: its ways took turns on one machine. Times are CPU seconds on one thread where the unit says so;",
        "the load is that of the machine when the benchmark began: above 0.5 something else was running.",
        "",
    ]
    kinds = {json.dumps(one["machine"], sort_keys=True): one["machine"] for one in entries.values()}
    for number, one in enumerate(kinds.values(), start=1):
        packages = ", ".join(f"{name} {value}" for name, value in one["packages"].items())
        lines.append(
            f"Machine {number}: {one['processor']}, {one['cores']} cores, {one['memory_gb']} GB, GPU: {one['gpu']}; "
            f"{one['system']}; {packages}.\n"
        )
    order = list(kinds)
    for name, entry in entries.items():
        number = order.index(json.dumps(entry["machine"], sort_keys=True)) + 1
        ran = f"`{entry['command']}`, {entry['date']}, commit {entry['commit']}, machine {number}"
        lines += [f"## {name}", "", ran]
        if "left_out" in entry:
            lines += [f"was left out: it {entry['left_out']}.", ""]
            continue
        lines[-1] += f", {entry['seconds']} s, load {entry['load_before']}."
        lines.append("")
        if entry["exit"]:
            lines += [f"**Failed** with exit code {entry['exit']}.", ""]
        if entry["comparisons"] and not entry["exit"]:
            lines += [Comparison.from_json(one).markdown() for one in entry["comparisons"]]
        else:
            lines += ["```text", entry["output"], "```", ""]
    return "\n".join(lines).rstrip() + "\n"


def main() -> None:
    """Run, and write after each."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("name", nargs="*", help="benchmarks to run; all of the manifest without")
    parser.add_argument("--all", action="store_true", help="the long ones, too, and all at their full size")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "results")
    parser.add_argument("--minutes", type=float, help="end after so long, and say what was left out for it")
    given = parser.parse_args()
    benchmarks, cohorts = read_manifest(everything=given.all)
    if unknown := set(given.name) - {one.name for one in benchmarks}:
        parser.error(f"not in benchmarks/manifest.toml: {', '.join(sorted(unknown))}")
    WORK.mkdir(parents=True, exist_ok=True)
    given.out.mkdir(parents=True, exist_ok=True)
    place = given.out / "benchmarks.json"
    earlier: dict[str, dict[str, Any]] = json.loads(place.read_text(encoding="utf-8")) if place.exists() else {}
    failed, began = [], time.monotonic()
    for one in benchmarks:
        if (given.name and one.name not in given.name) or one.arguments is None:
            continue
        print(f"{one.name} ...", flush=True)
        left = None if given.minutes is None else began + 60 * given.minutes - time.monotonic()
        earlier[one.name] = entry = measure(one, cohorts, left)
        if entry.get("exit"):
            failed.append(one.name)
        print(f"  {entry.get('left_out') or str(entry['seconds']) + ' s'}", flush=True)
        entries = {other.name: earlier[other.name] for other in benchmarks if other.name in earlier}
        place.write_text(json.dumps(entries, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        (given.out / "benchmarks.md").write_text(page(entries), encoding="utf-8")
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
