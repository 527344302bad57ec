"""`fedpet train run RUN.toml` that is killed by SIGKILL in its second round, and then `--resume`, as a program.

`python -m tests.support.killed_coordinator LOG train run RUN.toml`, in the folder of the run file; LOG is told of the
second command.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

_PROGRESS = Path("federation", "results", "model.progress.json")


def main(log: Path, words: list[str]) -> int:
    command = [sys.executable, "-m", "app.cli", *words]
    first = subprocess.Popen(command)
    while first.poll() is None and not _in_second_round():
        time.sleep(0.1)
    if first.poll() is not None:
        return first.returncode or 1  # it should not have ended
    time.sleep(1.0)
    first.kill()
    first.wait()
    with log.open("a") as file:
        file.write(" ".join([*words, "--resume"]) + "\n")
    return subprocess.run([*command, "--resume"], check=False).returncode


def _in_second_round() -> bool:
    if not _PROGRESS.exists():
        return False
    progress = json.loads(_PROGRESS.read_text())
    return len(progress["rounds"]) == 1 and set(progress["asked"].values()) == {2}


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
