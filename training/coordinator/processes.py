"""The processes of a federation on this machine: the researcher, and in a simulation the nodes as well.

Nothing here imports Fed-BioMed, so that the calling process stays light. Logs stay in the work folder; an error quotes
lines from them only where they contain no path.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import IO, TYPE_CHECKING, Any

from fedpet.core.errors import FederationError
from fedpet.core.messages import Message
from inference.report_signature import Signer
from training.node.process import PARENT_VARIABLE
from training.task.registration import TAGS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType
    from typing import Self

MINIMUM_NODES = 3
_NODE_ARGS = '{"gpu": false, "gpu_num": null, "gpu_only": false, "debug": false}'
_NODE = ("training.node.process", "--node-args", _NODE_ARGS)
_LOG_LINES = 3
_ALONE = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}


class FederationProcesses:
    """The researcher and, in a simulation, one node for each folder of data; a context manager that stops them.

    Attributes:
        work: folder of the components and logs.
        nodes: data folder by node name; none where the nodes run on other machines.
        facts: what a node describes of its data, by node name.

    The researcher's identity and certificate have a folder of their own, by default in `work`: a node trusts the first
    ones that it sees until it is restarted.
    """

    def __init__(
        self,
        nodes: Mapping[str, Path],
        work: Path,
        *,
        facts: Mapping[str, Mapping[str, Any]] | None = None,
        host: str = "localhost",
        port: int | None = None,
        researcher: Path | None = None,
    ) -> None:
        if nodes and len(nodes) < MINIMUM_NODES:
            raise FederationError(
                found=Message("{count} nodes were given.", count=len(nodes)),
                needed=Message("A federation has at least {count}.", count=MINIMUM_NODES),
                advice=Message("Give the folder of every node."),
            )
        self.nodes = {name: folder.resolve() for name, folder in nodes.items()}
        self.work = work.resolve()
        self.facts = facts or {}
        self._host, self._port = host, port or _free_port()
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._environment = _environment(
            self._host, self._port, (researcher or self.work / "researcher").resolve(), alone=bool(nodes)
        )

    def __enter__(self) -> Self:
        """Provision and start every node."""
        self.work.mkdir(parents=True, exist_ok=True)
        try:
            if self.nodes:
                self._provision()
            for name in self.nodes:
                self.start(name)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Kill every process that this federation started (an orderly stop takes up to ten seconds a node)."""
        for process in self._processes.values():
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        self._processes.clear()

    def kill(self, name: str) -> None:
        """Kill one process, as a failing machine would."""
        process = self._processes.pop(name)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def check(self) -> None:
        """Raise a FederationError if a node has ended."""
        for name, process in self._processes.items():
            if process.poll() is not None:
                raise self._error(name, Message("Process “{name}” ended.", name=name))

    def run_researcher(
        self,
        config: Mapping[str, Any],
        on_event: Callable[[dict[str, Any]], None],
        *,
        module: str = "training.coordinator.researcher",
        watch: bool = True,
    ) -> None:
        """Run the researcher until it ends, and pass on the events that it prints, one JSON object a line.

        Args:
            config: a `training.coordinator.sites.RunConfig` as plain data.
            on_event: called with every event.
            module: of the researcher, other than the usual one in tests.
            watch: end the training when a node on this machine has ended.

        Raises:
            FederationError: the researcher failed, or a node ended meanwhile.
        """
        path = self.work / "researcher.json"
        path.write_text(json.dumps(config), encoding="utf-8")
        with (self.work / "researcher.log").open("wb") as log:
            process = self._run(module, str(path), stdout=subprocess.PIPE, stderr=log)
        self._processes["researcher"] = process
        if watch:
            Thread(target=self._watch, args=(process,), daemon=True).start()
        if process.stdout is None:
            raise AssertionError("the researcher was started with a pipe")
        failure = None
        for line in process.stdout:
            if line.startswith(b'{"event"'):
                event = json.loads(line)
                if event["event"] == "failed":
                    failure = FederationError(
                        **{part: Message.from_json(event[part]) for part in ("found", "needed", "advice")}
                    )
                else:
                    on_event(event)
        self._processes.pop("researcher", None)
        if process.wait():
            if failure is not None:
                raise failure
            self.check()
            raise self._error(self._first_node_with_error() or "researcher", Message("The federated training failed."))

    def _watch(self, researcher: subprocess.Popen[bytes]) -> None:
        """End the researcher when a node has ended: it might wait for that node for a long time."""
        nodes = [self._processes[name] for name in self.nodes if name in self._processes]
        while researcher.poll() is None:
            if any(node.poll() is not None for node in nodes):
                researcher.kill()
            time.sleep(0.5)

    def _provision(self) -> None:
        spec = {
            "tags": TAGS,
            "host": self._host,
            "port": self._port,
            "nodes": {
                name: {"path": str(self.work / name), "data": str(data), "facts": dict(self.facts.get(name, {}))}
                for name, data in self.nodes.items()
            },
        }
        path = self.work / "provision.json"
        path.write_text(json.dumps(spec), encoding="utf-8")
        with (self.work / "provision.log").open("wb") as log:
            process = self._run("training.node.fedbiomed_node", str(path), stdout=log, stderr=log)
        if process.wait():
            raise self._error("provision", Message("The nodes could not be provisioned."))

    def start(self, name: str, extra: Mapping[str, str] | None = None) -> None:
        """Start a node's process, with variables of its own."""
        with self._log_path(name).open("ab") as log:
            self._processes[name] = self._run(
                *_NODE, "--config", str(self.work / name), stdout=log, stderr=log, extra=extra
            )

    def _run(
        self, *module: str, stdout: int | IO[bytes], stderr: IO[bytes], extra: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        return subprocess.Popen(  # noqa: S603  our own interpreter, modules and folders
            [sys.executable, "-m", *module],
            env={**self._environment, **(extra or {})},
            cwd=self.work,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
        )

    def _log_path(self, name: str) -> Path:
        return self.work / f"{name}.log"

    def _log(self, name: str) -> str:
        path = self._log_path(name)
        return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""

    def _first_node_with_error(self) -> str | None:
        """The first node whose log contains an error."""
        return next((name for name in self.nodes if " ERROR " in self._log(name)), None)

    def _error(self, name: str, found: Message) -> FederationError:
        lines = [line for line in self._log(name).splitlines() if " ERROR " in line or "Error" in line]
        last = " | ".join(line.strip() for line in lines[-_LOG_LINES:] if "/" not in line)
        return FederationError(
            found=found,
            needed=Message("Last errors of “{name}”: {lines}.", name=name, lines=last.rstrip(".") or "—"),
            advice=Message("Read the logs in {folder}.", folder=str(self.work)),
        )


def researcher_identity(host: str, port: int, folder: Path) -> Signer:
    """The researcher's own certificate and key, which are made with its identity if there is none yet.

    Args:
        host: that nodes reach.
        port: that nodes reach.
        folder: of the researcher's identity.

    Raises:
        FederationError: the identity could not be made.
    """
    folder.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        [sys.executable, "-m", "training.coordinator.fedbiomed_researcher"],
        env=_environment(host, port, folder.resolve(), alone=False),
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise FederationError(
            found=Message("The identity of the researcher could not be made in {name}.", name=folder.name),
            needed=Message("A folder that can be written, and the training extra of fedpet."),
            advice=Message("Check the folder and the installation."),
        )
    return Signer(*map(Path, done.stdout.splitlines()[-2:]))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _environment(host: str, port: int, researcher: Path, *, alone: bool) -> dict[str, str]:
    """The environment of the processes; where all nodes share this machine, one thread each and no GPU."""
    packages = str(Path(__file__).parents[2])
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, [packages, os.environ.get("PYTHONPATH", "")])),
        "FBM_SERVER_HOST": host,
        "FBM_SERVER_PORT": str(port),
        "FBM_RESEARCHER_COMPONENT_ROOT": str(researcher),
        "PYTHONUNBUFFERED": "1",
        PARENT_VARIABLE: str(os.getpid()),
        **(_ALONE if alone else {}),
    }
