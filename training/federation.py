"""The processes of a federation on this machine: the researcher, and for a rehearsal the nodes as well.

Nothing here imports Fed-BioMed, so that the calling process stays light. Logs stay in the work folder; an error quotes
lines of them only where they hold no path.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import IO, TYPE_CHECKING, Any

from fedpet.errors import FederationError
from fedpet.messages import Message

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType
    from typing import Self

TAGS = ["fedpet", "train"]
MINIMUM_NODES = 3
_NODE_ARGS = '{"gpu": false, "gpu_num": null, "gpu_only": false, "debug": false}'
_NODE = ("fedbiomed.node.node_pm", "--node-args", _NODE_ARGS)
_LOG_LINES = 3
_ALONE = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}


class Federation:
    """The researcher, and nodes as processes of this machine, each on one folder; a context manager that stops them.

    Attributes:
        work: folder of the components and logs.
        nodes: data folder by node name; none where the nodes run on other machines.
        facts: what the researcher learns of a node's data, by node name.

    The researcher's identity and certificate are in a folder of their own, by default in `work`: a node remembers them
    until it is restarted and trusts no other.
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
        """Kill every process that this federation started (a polite stop takes up to ten seconds a node)."""
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
        module: str = "training.researcher",
        watch: bool = True,
    ) -> None:
        """Run the researcher until it ends, passing on the events that it prints, one JSON object a line.

        Args:
            config: a `training.researcher.RunConfig` as plain data.
            on_event: called with every event.
            module: that is the researcher.
            watch: end the training when a node of this machine has ended.

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
            raise self._error(self._complaining() or "researcher", Message("The federated training failed."))

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
            process = self._run("training.internals_node", str(path), stdout=log, stderr=log)
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

    def _complaining(self) -> str | None:
        """The first node whose log holds an error."""
        return next((name for name in self.nodes if " ERROR " in self._log(name)), None)

    def _error(self, name: str, found: Message) -> FederationError:
        lines = [line for line in self._log(name).splitlines() if " ERROR " in line or "Error" in line]
        last = " | ".join(line.strip() for line in lines[-_LOG_LINES:] if "/" not in line)
        return FederationError(
            found=found,
            needed=Message("What “{name}” said last: {lines}.", name=name, lines=last.rstrip(".") or "—"),
            advice=Message("Read the logs in {folder}.", folder=str(self.work)),
        )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def node_name(site: str) -> str:
    """The site's name, fit for a file name."""
    return re.sub(r"[^A-Za-z0-9_-]", "_", site)


def _environment(host: str, port: int, researcher: Path, *, alone: bool) -> dict[str, str]:
    """The processes' environment; on a machine with all nodes, one thread each and no GPU."""
    rooms = str(Path(__file__).parents[1])
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, [rooms, os.environ.get("PYTHONPATH", "")])),
        "FBM_SERVER_HOST": host,
        "FBM_SERVER_PORT": str(port),
        "FBM_RESEARCHER_COMPONENT_ROOT": str(researcher),
        "PYTHONUNBUFFERED": "1",
        **(_ALONE if alone else {}),
    }
