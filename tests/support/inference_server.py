"""A real inference server (MLServer, Open Inference Protocol v2), and what stands before it: TLS and a token.

MLServer's pins are older than those of the application, so it has an environment of its own, made once a machine in the
folder for temporary files. Where its packages cannot be had, the tests that need it are skipped with pip's reason.
"""

from __future__ import annotations

import fcntl
import http.client
import http.server
import json
import os
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import venv
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fedpet.core.connection_settings import InferenceServerSettings
from inference.bundle.triton import export_triton
from tests.support import ROOT
from tests.support.certificates import self_signed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from inference.bundle.storage import Bundle

TOKEN = "a-token-of-the-test"  # noqa: S105  of our own server
_NEEDED = ("mlserver==1.7.1", "onnxruntime>=1.27")


def mlserver_python() -> Path:
    """Python of an environment with MLServer."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    folder = Path(tempfile.gettempdir()) / f"fedpet-mlserver-{os.getuid()}-{version}"
    with folder.with_suffix(".lock").open("a") as lock:  # workers of the tests come at once
        fcntl.flock(lock, fcntl.LOCK_EX)
        _install(folder)
    return folder / "bin" / "python"


def _install(folder: Path) -> None:
    python, ready = folder / "bin" / "python", folder / "ready"
    if ready.exists() and ready.read_text() == " ".join(_NEEDED):
        return
    venv.create(folder, clear=True)
    install = (sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-compile", *_NEEDED)
    try:
        subprocess.run(install, check=True, capture_output=True, text=True, timeout=300)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        said = str(error.stderr or "").strip().splitlines() or [str(error)]
        pytest.skip(f"MLServer cannot be installed: {said[-1]}")
    ready.write_text(" ".join(_NEEDED))


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


@contextmanager
def mlserver(repository: Path) -> Iterator[int]:
    """MLServer on the models of a repository of `fedpet model export-triton`; its port."""
    python, ports = mlserver_python(), [_free_port() for _ in range(3)]
    for folder in repository.iterdir():
        settings = {"name": folder.name, "implementation": "mlserver_onnx.OnnxModel"}
        settings["parameters"] = {"uri": "./1/model.onnx"}
        (folder / "model-settings.json").write_text(json.dumps(settings))
    named = dict(zip(("http_port", "grpc_port", "metrics_port"), ports, strict=True))
    (repository / "settings.json").write_text(json.dumps({"host": "127.0.0.1", "parallel_workers": 0, **named}))
    start = "from mlserver.cli import main; main()"
    with (repository.parent / "mlserver.log").open("wb") as log:
        process = subprocess.Popen(
            [python, "-c", start, "start", repository],
            stdout=log,
            stderr=log,
            env={"PATH": "/usr/bin:/bin", "HOME": str(repository.parent), "PYTHONPATH": str(ROOT / "deploy")},
        )
        try:
            _wait_for(ports[0], process)
            yield ports[0]
        finally:
            process.terminate()
            process.wait(30)


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline and process.poll() is None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", "/v2/health/ready")
            if connection.getresponse().status == http.HTTPStatus.OK:
                return
        except OSError:
            time.sleep(0.2)
        finally:
            connection.close()
    pytest.fail("MLServer did not start")


class Gate(http.server.BaseHTTPRequestHandler):
    """What a hospital puts before a server: it asks for a token, and passes the request on.

    `server.spoil(path, status, body)` may change an answer; `server.asked` keeps what was asked.
    """

    def do_GET(self) -> None:
        self._pass(None)

    def do_POST(self) -> None:
        self._pass(self.rfile.read(int(self.headers["Content-Length"])))

    def _pass(self, body: bytes | None) -> None:
        self.server.asked.append((self.command, self.path, dict(self.headers), body or b""))
        status, answer = 401, b'{"error": "no token"}'
        if self.headers["Authorization"] == f"Bearer {self.server.token}":
            connection = http.client.HTTPConnection("127.0.0.1", self.server.behind, timeout=60)
            connection.request(self.command, self.path, body, {"Content-Type": "application/json"})
            response = connection.getresponse()
            status, answer = response.status, response.read()
            connection.close()
        status, answer, headers = self.server.spoil(self.path, status, answer)
        self.send_response(status)
        for name, value in ({"Content-Type": "application/json", "Content-Length": str(len(answer))} | headers).items():
            self.send_header(name, value)
        with suppress(OSError):  # whoever asked has not waited
            self.end_headers()
            self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def gate(behind: int, certificate: Path, token: str) -> Iterator[http.server.ThreadingHTTPServer]:
    """A TLS server with a token in front of a port of this machine."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Gate)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    server.behind, server.token, server.asked = behind, token, []
    server.spoil = lambda _path, status, answer: (status, answer, {})
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def serving(folder: Path, *bundles: Bundle) -> Iterator[http.server.ThreadingHTTPServer]:
    """MLServer with some bundles behind a gate; `settings(...)` of what it gives reach it, `repository` holds them."""
    folder.mkdir(exist_ok=True)
    for bundle in bundles:
        export_triton(bundle, folder / "models")
    certificate, token = folder / "server.pem", folder / "token"
    self_signed(certificate)
    token.write_text(f"{TOKEN}\n")
    with mlserver(folder / "models") as port, gate(port, certificate, TOKEN) as server:
        good = {"url": f"https://localhost:{server.server_port}", "ca_file": certificate, "secret_file": token}
        server.settings = lambda **changed: InferenceServerSettings(**good | {"timeout_s": 20.0} | changed)
        server.repository = folder / "models"
        yield server
