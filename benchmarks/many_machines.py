"""How long a million studies would take on a cluster, and what limits it: the scheduler played with measured figures.

    python -m benchmarks.many_machines --studies 1000000

Each study takes a core for `--cpu` seconds, reads `--mb` from one shared disk, and its result takes the command
`--note-ms` to place and note. Tasks start as `training.data.ray_cluster` starts them: as many as there are cores, at
most three times as many finished ones waiting for one before them. Durations vary by `--spread` (coefficient of
variation, log-normal). Nothing is computed on a cluster here.
"""

from __future__ import annotations

import argparse
import heapq

import numpy as np

CORES = (16, 64, 256, 1024, 4096)
DISKS = {"1 Gbit/s": 125.0, "10 Gbit/s": 1250.0, "100 Gbit/s": 12500.0}


def play(durations: np.ndarray, cores: int, note: float) -> float:
    """Seconds until the last result is noted, by the cores and the command; the disk is a bound beside it."""
    running: list[tuple[float, int]] = []
    finished = np.full(len(durations), np.nan)
    started, clock, free = 0, 0.0, 0.0
    for place in range(len(durations)):
        while np.isnan(finished[place]):
            while len(running) < cores and started < min(len(durations), place + 4 * cores):
                heapq.heappush(running, (max(clock, free) + durations[started], started))
                started += 1
            clock, done = heapq.heappop(running)
            finished[done] = clock
        free = max(free, finished[place]) + note
    return free


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--studies", type=int, default=1_000_000)
    parser.add_argument("--cpu", type=float, default=9.0, help="Core seconds a study.")
    parser.add_argument("--mb", type=float, default=48.0, help="Megabytes that a study reads.")
    parser.add_argument("--note-ms", type=float, default=1.5, help="Milliseconds of the command for a result.")
    parser.add_argument("--spread", type=float, default=0.4)
    given = parser.parse_args()
    sigma = np.sqrt(np.log1p(given.spread**2))
    drawn = min(given.studies, 40_000)  # of which the rest is a multiple
    durations = given.cpu * np.random.default_rng(1).lognormal(-(sigma**2) / 2, sigma, drawn)
    heads = " | ".join(f"disk of {name}" for name in DISKS)
    print(f"| cores | {heads} | core hours |\n|" + "---:|" * (len(DISKS) + 2))
    for cores in CORES:
        busy = play(durations, cores, given.note_ms / 1000) * given.studies / drawn
        ideal = given.cpu * given.studies / cores
        cells = []
        for speed in DISKS.values():
            disk = given.mb * given.studies / speed
            command = given.note_ms / 1000 * given.studies
            limit = max(("cores", ideal), ("disk", disk), ("command", command), key=lambda one: one[1])[0]
            cells.append(f"{max(busy, disk) / 3600:,.1f} h ({limit})")
        print(f"| {cores} | " + " | ".join(cells) + f" | {given.cpu * given.studies / 3600:,.0f} |")


if __name__ == "__main__":
    main()
