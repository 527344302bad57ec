"""How much faster `fedpet batch` is on several processes than on one.

    python -m benchmarks.batch OUT --studies 8 --workers 2 --repeats 5

Simulated studies (coarse) are predicted with explanation and report, by the command, one process against several, in
turn; wall time includes the start of the processes.
"""

from __future__ import annotations

import argparse
import csv
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.figures import Comparison, report
from fedpet.clinical.tabular import read_cells


def _fedpet(*arguments: object, home: Path) -> None:
    environment = {**os.environ, "FEDPET_HOME": str(home), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "app.cli.main", *map(str, arguments)]
    subprocess.run(command, check=True, env=environment, capture_output=True)  # noqa: S603  our own command


def _worklist(out: Path, studies: int) -> Path:
    """Simulate, and write a record of its own for each study."""
    centre = out / "cohort" / "S1"
    if not centre.exists():
        simulated = ("--patients", studies, "--sites", 1, "--fidelity", "coarse", "--seed", 7)
        _fedpet("cohort", "simulate", *simulated, "--out", out / "cohort", home=out / "home")
    lines = [("study", "clinical")]
    for row in read_cells(centre / "clinical.csv", lambda cells: "patient_id" in cells).rows:
        record = out / f"{row['patient_id']}.csv"
        with record.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file, delimiter=";").writerows([row.keys(), row.values()])
        lines.append((str((centre / "dicom" / row["patient_id"]).resolve()), record.name))
    worklist = out / "worklist.csv"
    with worklist.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, delimiter=";").writerows(lines)
    return worklist


def main() -> None:
    """Time both ways in turn."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--studies", type=int, default=8)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    worklist = _worklist(given.out, given.studies)
    seconds: dict[int, list[float]] = {1: [], given.workers: []}
    for repeat in range(given.repeats):
        for workers, times in seconds.items():
            began = time.perf_counter()
            place = given.out / f"run-{repeat}-{workers}"
            shutil.rmtree(place, ignore_errors=True)  # of an earlier measurement, which would be kept
            _fedpet("batch", worklist, "--out", place, "--workers", workers, home=given.out / "home")
            times.append(time.perf_counter() - began)
            print(f"{workers} processes: {times[-1]:.1f} s", flush=True)
    ways = {f"{workers} process{'es' if workers > 1 else ''}": times for workers, times in seconds.items()}
    report(Comparison(f"fedpet batch, {given.studies} studies", "s", "1 process", ways))


if __name__ == "__main__":
    main()
