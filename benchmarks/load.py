"""The application under load, and killed at random points: nothing lost, nothing mixed, memory bounded.

- `traffic`: 50 readers fetch the files of their cases from a running server, each checked byte by byte, while 20
  studies are taken in at once by the way that receiver and pages share; the audit trail, every stored file and the
  server's memory afterwards.
- `soak`: the same readers and a study every second for as long as it is told, each with a pause, and what of the server
  grew: memory, open files, threads.
- `predictions`: 60 predictions one after the other in one process, and its memory.
- `worklist`: 10,000 cases with their answers; first page, last page and search.
- `kills`: the process of a computation, the server and the receiver are killed (SIGKILL) at random moments, started
  again, and looked at: no case stuck, no file lost, no identified file left, trail and database sound.

Run: `python -m benchmarks.load [traffic|soak|predictions|worklist|kills] [--points N] [--seconds S] [--seed N]`.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import psutil
from pydicom import dcmread
from pynetdicom import AE
from sqlalchemy import insert

from app.audit.trail import AuditTrail
from app.cases.store import Search, Store
from app.cases.tables import BUSY, Case, Status
from app.cases.workflow import Workflow
from app.jobs.scheduler import JobScheduler
from fedpet.clinical.record import ClinicalRecord
from fedpet.core.scratch import sweep_scratch
from fedpet.core.settings import Settings
from inference.bundle.storage import load_model
from inference.predict import predict
from tests.support import case_files, dicom_factory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

READERS, UPLOADS, PREDICTIONS, CASES = 50, 20, 60, 10_000
SOAK_PAUSE = 5.0  # seconds between two reads of a reader: the machine is not to be busy for half an hour


def main() -> None:
    """Run the parts that are asked for, in a folder that is removed afterwards."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = {"traffic": traffic, "soak": soak, "predictions": predictions, "worklist": worklist, "kills": kills}
    parser.add_argument("part", nargs="*", choices=[*parts, []], default=[one for one in parts if one != "soak"])
    parser.add_argument("--points", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    for name in given.part:
        with tempfile.TemporaryDirectory(prefix="fedpet-load-") as folder:
            parts[name](Path(folder), given)


def traffic(home: Path, given: argparse.Namespace) -> None:
    """Readers and uploads at once."""
    store, audit = _opened(home)
    cases = [store.create("fr").id for _ in range(10)]
    for case in cases:
        (store.folder(case) / "pet.bin").write_bytes(case.encode() * 30_000)  # 1 MB that names its case
    with _server(home) as (process, port):
        end, wrong, times = time.monotonic() + given.seconds, [], []

        def read(number: int) -> int:
            case, fetched = cases[number % len(cases)], 0
            cookie = _cookie(port)
            while time.monotonic() < end:
                start = time.monotonic()
                if _fetched(port, f"/files/{case}/pet.bin", cookie) != case.encode() * 30_000:
                    wrong.append(case)
                times.append(time.monotonic() - start)
                fetched += 1
            return fetched

        def upload(number: int) -> tuple[str, bytes]:
            workflow, content = Workflow(store, audit, _Idle()), f"study {number} ".encode() * 100_000
            case = workflow.create("fr", actor=f"dr.{number}").id
            store.source(case).mkdir()
            (store.source(case) / "000000").write_bytes(content)
            workflow.receive_images(case, files=1, size=len(content), actor=f"dr.{number}")
            return case, content

        with ThreadPoolExecutor(READERS + UPLOADS) as pool:
            readers = [pool.submit(read, number) for number in range(READERS)]
            uploads = [pool.submit(upload, number) for number in range(UPLOADS)]
            peak = _peak(process, end)
            fetched = sum(one.result() for one in readers)
            stored = dict(one.result() for one in uploads)
    lost = [case for case, content in stored.items() if (store.source(case) / "000000").read_bytes() != content]
    verdict = audit.verify()
    slow = sorted(times)[int(0.95 * len(times))] if times else float("nan")
    print(f"traffic      {READERS} readers, {UPLOADS} uploads, {given.seconds:.0f} s: {fetched} files of 1 MB read,")
    print(f"             {len(wrong)} wrong, {len(lost)} uploads lost or mixed, 95 % of reads within {slow:.2f} s,")
    print(f"             server at most {peak:.0f} MB, audit {verdict.entries} entries, {verdict.broken or 'sound'}")
    store.close()


def soak(home: Path, given: argparse.Namespace) -> None:
    """Readers and studies at a bearable rate for long, and what of the server grew."""
    store, audit = _opened(home)
    workflow, cases = Workflow(store, audit, _Idle()), [store.create("fr").id for _ in range(10)]
    for case in cases:
        (store.folder(case) / "pet.bin").write_bytes(case.encode() * 30_000)
    seen, wrong, lost, taken = [], [], [], 0
    with _server(home) as (process, port), ThreadPoolExecutor(READERS) as pool:
        start = time.monotonic()
        end = start + given.seconds

        def read(number: int) -> int:
            case, fetched = cases[number % len(cases)], 0
            cookie = _cookie(port)
            while time.monotonic() < end:
                if _fetched(port, f"/files/{case}/pet.bin", cookie) != case.encode() * 30_000:
                    wrong.append(case)
                fetched += 1
                time.sleep(SOAK_PAUSE)
            return fetched

        readers = [pool.submit(read, number) for number in range(READERS)]
        server = psutil.Process(process.pid)
        while time.monotonic() < end:
            taken, content = taken + 1, os.urandom(100_000)
            case = workflow.create("fr", actor="dr.a").id
            store.source(case).mkdir()
            (store.source(case) / "000000").write_bytes(content)
            workflow.receive_images(case, files=1, size=len(content), actor="dr.a")
            lost += [] if (store.source(case) / "000000").read_bytes() == content else [case]
            store.finish_check(case, pseudonym=f"P-{taken}", study_date="2026-01-02", inspection={"refused": None})
            workflow.erase(case, actor="dr.a")
            seen.append((server.memory_info().rss / 2**20, server.num_fds(), server.num_threads()))
            time.sleep(1.0)
        fetched = sum(one.result() for one in readers)
    verdict = audit.verify()
    print(f"soak         {given.seconds / 60:.0f} min: {fetched} files read, {len(wrong)} wrong; {taken} studies taken")
    print(f"             in and erased, {len(lost)} lost; audit {verdict.entries} entries, {verdict.broken or 'sound'}")
    for share in (0.1, 0.25, 0.5, 0.75, 1.0):
        memory, files, threads = seen[min(len(seen) - 1, int(share * len(seen)))]
        print(f"             at {share:4.0%}: {memory:.0f} MB, {files} open files, {threads} threads")
    store.close()


def predictions(_: Path, __: argparse.Namespace) -> None:
    """Predictions one after the other in one process."""
    bundle, study = load_model(), case_files.make_study()
    memory = []
    for _number in range(PREDICTIONS):
        predict(study, ClinicalRecord(age=60.0), bundle)
        memory.append(psutil.Process().memory_info().rss / 2**20)
    told = ", ".join(f"{memory[number - 1]:.0f}" for number in (1, 5, 10, 20, 30, 40, 50, 60))
    print(f"predictions  {PREDICTIONS}: {told} MB after the 1st, 5th, 10th, 20th, 30th, 40th, 50th and 60th")


def worklist(home: Path, _: argparse.Namespace) -> None:
    """Ten thousand cases with their answers."""
    store, _audit = _opened(home)
    result = case_files.make_json(case_files.make_case(home / "one"))
    first = datetime(2026, 1, 1, tzinfo=UTC)
    with store.engine.begin() as connection:
        for start in range(0, CASES, 500):
            rows = [_row(number, first, result) for number in range(start, start + 500)]
            connection.execute(insert(Case), rows)
    looks: dict[str, Callable[[], object]] = {
        "first page": lambda: [case.stored_result for case in store.find(Search(), limit=20)],
        "count": lambda: store.count(Search(only="dr.a")),
        "last page": lambda: store.find(Search(), limit=20, offset=CASES - 20),
        "search": lambda: store.find(Search(words="00001267"), limit=20),
    }
    size = len(json.dumps(result)) / 1024
    print(f"worklist     {CASES} cases with answers of {size:.0f} kB:")
    for name, look in looks.items():
        start = time.perf_counter()
        look()
        print(f"             {name:10s} {time.perf_counter() - start:6.3f} s")
    store.close()


def _row(number: int, first: datetime, result: dict[str, object]) -> dict[str, object]:
    return {
        "id": f"00000000-0000-4000-8000-{number:012x}",
        "created": first + timedelta(minutes=number),
        "status": Status.READY,
        "language": "fr",
        "pseudonym": f"P-{number:012x}",
        "owner": ("", "dr.a", "dr.b")[number % 3],
        "result": result,
    }


def kills(home: Path, given: argparse.Namespace) -> None:
    """Kill each kind of process at random moments, and look at what is left."""
    chance = np.random.default_rng(given.seed)
    kinds: tuple[Callable[[Path, np.random.Generator], list[str]], ...] = (_kill_job, _kill_server, _kill_receiver)
    faults: list[str] = []
    for number in range(given.points):
        place = home / str(number)
        faults += [f"{number}: {fault}" for fault in kinds[number % len(kinds)](place, chance)]
    print(
        f"kills        {given.points} points (computation, server, receiver in turn): {len(faults)} broken invariants"
    )
    for fault in faults:
        print(f"             {fault}")


def _kill_job(home: Path, chance: np.random.Generator) -> list[str]:
    store, audit = _opened(home)
    case, content = _received(store, audit)
    jobs = JobScheduler(Settings(home=home), store)
    jobs.submit(case)
    _wait(lambda: bool(jobs.processes()), 60)
    time.sleep(chance.uniform(0.0, 8.0))
    for process in jobs.processes():
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGKILL)
    _wait(lambda: store.require(case).status not in BUSY, 120)
    jobs.stop()
    return _looked(home, store, audit, {case: content})


def _kill_server(home: Path, chance: np.random.Generator) -> list[str]:
    store, audit = _opened(home)
    case, content = _received(store, audit)
    for _ in range(2):
        with _server(home) as (process, _port):
            time.sleep(chance.uniform(0.0, 4.0))
            process.send_signal(signal.SIGKILL)
            process.wait()
    with _server(home):
        _wait(lambda: store.require(case).status not in BUSY, 120)
    return _looked(home, store, audit, {case: content})


def _kill_receiver(home: Path, chance: np.random.Generator) -> list[str]:
    store, audit = _opened(home)
    port = _free_port()
    built = dicom_factory.ct(dicom_factory.thorax((12, 20, 20))[1])
    images = [dcmread(BytesIO(dicom_factory.to_bytes(one))) for one in built]
    with _listening(home, port) as process:
        sending = threading.Thread(target=_send, args=(port, images))
        sending.start()
        time.sleep(chance.uniform(0.0, 1.0))
        process.send_signal(signal.SIGKILL)
        process.wait()
        sending.join()
    with _listening(home, port):
        while not _send(port, images):
            time.sleep(0.2)
        _wait(lambda: any("files" in one.received for one in store.find(Search(), limit=5)), 60)
    found = [one for one in store.find(Search(), limit=5) if "files" in one.received]
    sizes = [len(list(store.source(one.id).iterdir())) for one in found]
    lost = [] if sizes and max(sizes) == len(images) else [f"{sizes} of {len(images)} images in the cases"]
    return lost + _looked(home, store, audit, {}, busy_allowed=True)


def _looked(
    home: Path, store: Store, audit: AuditTrail, contents: dict[str, bytes], *, busy_allowed: bool = False
) -> list[str]:
    """What is not as it has to be after a kill."""
    faults = [f"the trail: {broken}"] if (broken := audit.verify().broken) else []
    with store.engine.connect() as connection:
        if (answer := connection.exec_driver_sql("PRAGMA integrity_check").scalar()) != "ok":
            faults.append(f"the database: {answer}")
    faults += [f"{case} lost its files" for case, one in contents.items() if _content(store, case) != one]
    stuck = [one.id for one in store.find(Search(), limit=50) if one.status in BUSY]
    faults += [] if busy_allowed else [f"{case} is stuck" for case in stuck]
    sweep_scratch(home)  # as the next process does when it starts
    left = [path for path in (home / "scratch").glob("*") if path.is_dir()]
    faults += [] if busy_allowed else [f"{path} was left" for path in left]
    store.close()
    return faults


def _content(store: Store, case: str) -> bytes:
    return (store.source(case) / "000000").read_bytes()


def _received(store: Store, audit: AuditTrail) -> tuple[str, bytes]:
    """A case whose check is queued, of a file that no study is in: what is computed does not matter here."""
    workflow, content = Workflow(store, audit, _Idle()), os.urandom(200_000)
    case = workflow.create("fr", actor="dr.a").id
    store.source(case).mkdir()
    (store.source(case) / "000000").write_bytes(content)
    workflow.receive_images(case, files=1, size=len(content), actor="dr.a")
    return case, content


class _Idle:
    """A queue that starts nothing: the server or scheduler under test takes the case up."""

    def submit(self, case_id: str) -> None:
        """Nothing."""

    def send(self, case_id: str, version: int) -> None:
        """Nothing."""


def _opened(home: Path) -> tuple[Store, AuditTrail]:
    settings = Settings(home=home)
    store = Store.open(settings)
    return store, AuditTrail.of(store.engine, settings)


@contextmanager
def _server(home: Path) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    port = _free_port()
    with _command(home, "app", "--no-browser", "--port", str(port)) as process:
        _wait(lambda: _answers(port) or process.poll() is not None, 120)
        yield process, port


@contextmanager
def _listening(home: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    listen = {"ae": "FEDPETIN", "port": port, "quiet_s": 0.5}
    with _command(home, "pacs", "listen", FEDPET_PACS_LISTEN=json.dumps(listen)) as process:
        _wait(lambda: _connects(port) or process.poll() is not None, 120)
        yield process


@contextmanager
def _command(home: Path, *arguments: str, **variables: str) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "app.cli", *arguments]
    environment = {**os.environ, "FEDPET_HOME": str(home), **variables}
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(command, env=environment, stdout=quiet, stderr=quiet)  # noqa: S603  this Python
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


def _send(port: int, images: list[object]) -> bool:
    """Send images; False where the receiver went away."""
    ae = AE("ORTHANC")
    ae.add_requested_context("1.2.840.10008.5.1.4.1.1.2")
    ae.acse_timeout = ae.dimse_timeout = 10
    association = ae.associate("127.0.0.1", port, ae_title="FEDPETIN")
    if not association.is_established:
        return False
    try:
        answers = [association.send_c_store(one) for one in images]  # type: ignore[arg-type]  # datasets
    except (RuntimeError, ValueError):
        return False
    if association.is_established:
        association.release()
    return all("Status" in answer and answer.Status == 0 for answer in answers)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _connects(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


def _answers(port: int) -> bool:
    with suppress(OSError):
        return _fetched(port, "/_stcore/health", "") == b"ok"
    return False


def _fetched(port: int, path: str, cookie: str) -> bytes:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", path, headers={"Cookie": cookie} if cookie else {})
    with connection.getresponse() as response:
        return response.read()


def _cookie(port: int) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", "/")
    with connection.getresponse() as response:
        response.read()
        return (response.getheader("Set-Cookie") or "").partition(";")[0]


def _peak(process: subprocess.Popen[bytes], end: float) -> float:
    """Most memory of a process until a time, MB."""
    seen = [0.0]
    while time.monotonic() < end:
        seen.append(psutil.Process(process.pid).memory_info().rss / 2**20)
        time.sleep(0.2)
    return float(np.max(seen))


def _wait(condition: Callable[[], bool], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.1)


if __name__ == "__main__":
    main()
