"""A real PACS for the tests: Debian's Orthanc on loopback ports of its own, and small studies to put into it.

Use through the fixture `orthanc`.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import pytest

INSTALL = "apt-get install -y --no-install-recommends orthanc orthanc-dicomweb"
_PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
_USER, _PASSWORD = "tester", "Passw0rd"
CREDENTIALS = "Basic " + base64.b64encode(f"{_USER}:{_PASSWORD}".encode()).decode()
AE = "ORTHANC"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Orthanc:
    """Ports and the administrator's REST interface.

    `move_port` is ours, registered under the AE title FEDPET; `listen_port` under FEDPETIN.
    """

    ae, credentials = AE, CREDENTIALS
    free_port = staticmethod(free_port)

    def __init__(self):
        self.http_port, self.dicom_port, self.move_port, self.listen_port = (free_port() for _ in range(4))

    @property
    def url(self):
        return f"http://127.0.0.1:{self.http_port}/dicom-web"

    def configuration(self, folder):
        ours = {"Host": "127.0.0.1", "AllowEcho": True, "AllowFind": True, "AllowGet": True, "AllowMove": True}
        return {
            "Name": "TEST",
            "StorageDirectory": str(folder),
            "IndexDirectory": str(folder),
            "HttpPort": self.http_port,
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": True,
            "RegisteredUsers": {_USER: _PASSWORD},
            "DicomPort": self.dicom_port,
            "DicomAet": AE,
            "DicomCheckCalledAet": True,
            "DicomAlwaysAllowEcho": False,
            "DicomAlwaysAllowStore": False,
            "DicomAlwaysAllowFind": False,
            "DicomAlwaysAllowGet": False,
            "DicomModalities": {
                "fedpet": {**ours, "AET": "FEDPET", "Port": self.move_port, "AllowStore": True},
                "listen": {**ours, "AET": "FEDPETIN", "Port": self.listen_port, "AllowStore": True},
                "reader": {**ours, "AET": "READONLY", "Port": self.move_port, "AllowStore": False},
            },
            "Plugins": [str(_PLUGIN)],
            "DicomWeb": {"Enable": True, "Root": "/dicom-web/", "Ssl": False},
            "ConcurrentJobs": 1,
            "OverwriteInstances": True,
        }

    def rest(self, path, data=None, method=None):
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.http_port}{path}",
            data=None if data is None else json.dumps(data).encode(),
            method=method,
            headers={"Authorization": CREDENTIALS},
        )
        with urllib.request.urlopen(request, timeout=10) as response:  # noqa: S310  our own server
            return json.load(response)

    def instances(self, study_uid):
        """SOP Instance UIDs that Orthanc holds of a study, with its own identifiers."""
        found = self.rest(
            "/tools/find", {"Level": "Instance", "Expand": True, "Query": {"StudyInstanceUID": study_uid}}
        )
        return {one["MainDicomTags"]["SOPInstanceUID"]: one["ID"] for one in found}

    def delete(self, instance):
        self.rest(f"/instances/{instance}", method="DELETE")


@contextmanager
def running(folder):
    """Start Orthanc with its own configuration, and stop it at the end; skips where it is not installed."""
    program = shutil.which("Orthanc", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None or not _PLUGIN.exists():
        message = f"Orthanc is missing: {INSTALL}"
        pytest.fail(message) if os.environ.get("CI") == "true" else pytest.skip(message)
    orthanc = Orthanc()
    (folder / "orthanc.json").write_text(json.dumps(orthanc.configuration(folder / "db")))
    log = (folder / "log").open("w")
    environment = {**os.environ, "TCP_NODELAY": "1"}  # for its DCMTK: ten times faster with small objects
    command = [program, str(folder / "orthanc.json")]
    with log, subprocess.Popen(command, stdout=log, stderr=log, env=environment) as process:
        try:
            _wait(orthanc, process)
            yield orthanc
        finally:
            process.kill()


def _wait(orthanc, process):
    while process.poll() is None:
        try:
            orthanc.rest("/system")
        except (urllib.error.URLError, OSError):
            time.sleep(0.05)
        else:
            return
    pytest.fail("Orthanc did not start")
