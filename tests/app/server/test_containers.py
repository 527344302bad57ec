"""The containers' files: what they name exists, and the archive forwards as they say."""

import json
import os
import re
import shutil
import socket
import subprocess
import threading

import numpy as np
import pytest
import yaml
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid
from pynetdicom import AE, evt
from pynetdicom.sop_class import ComprehensiveSRStorage

from fedpet.core.settings import Settings
from tests.support import ROOT

COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())
ORTHANC = json.loads((ROOT / "deploy/orthanc.json").read_text())


@pytest.fixture
def settings(monkeypatch, tmp_path):
    """The settings that the application's container sees."""
    for name, value in COMPOSE["services"]["app"]["environment"].items():
        monkeypatch.setenv(name, re.sub(r"\$\{.*?\}", "secret", value))
    monkeypatch.setenv("FEDPET_CONFIG", str(ROOT / "deploy/fedpet.toml"))
    monkeypatch.setenv("FEDPET_HOME", str(tmp_path))
    return Settings()


def test_the_settings_of_the_containers_are_settings(settings):
    named = re.findall(r"FEDPET_(\w+)", (ROOT / "compose.yaml").read_text() + (ROOT / "Dockerfile").read_text())
    assert {one.lower() for one in named} - {"config", "oidc_secret"} <= set(Settings.model_fields)
    assert settings.database == "postgresql://fedpet@database/fedpet"
    assert settings.sign_in == "oidc"  # beside this machine nothing is served without


def test_application_receiver_and_archive_know_each_other(settings):
    services, archive = COMPOSE["services"], settings.pacs["archive"]
    assert {archive.host, "database"} <= set(services)
    assert (archive.called_ae, archive.port) == (ORTHANC["DicomAet"], ORTHANC["DicomPort"])
    assert ORTHANC["DicomModalities"]["fedpet"]["AET"] == archive.our_ae
    receiver = ORTHANC["DicomModalities"]["receiver"]
    assert (receiver["AET"], receiver["Port"]) == (settings.pacs_listen.ae, settings.pacs_listen.port)
    assert receiver["Host"] in services
    assert settings.pacs_listen.callers == (ORTHANC["DicomAet"],)


@pytest.mark.parametrize("name", ["node", "coordinator"])
def test_the_federation_s_containers_run_commands_that_exist(name):
    """The image's entry point is `fedpet`; the documented commands name the file and its folders."""
    from typer.testing import CliRunner

    from app.cli.main import main

    text = (ROOT / "deploy" / f"{name}.compose.yaml").read_text()
    service = yaml.safe_load(text)["services"][name]
    assert service["build"]["target"] == "training"
    assert (ROOT / "deploy" / service["build"]["context"] / "Dockerfile").is_file()
    node = yaml.safe_load((ROOT / "deploy" / "gpu.compose.yaml").read_text())["services"]["node"]
    for command in (service["command"], node["command"]):
        words = [word for word in command if not word.startswith(("/", "-"))]
        shown = CliRunner().invoke(main, [*words, "--help"])
        assert shown.exit_code == 0, shown.output
        assert all(option in shown.output for option in command if option.startswith("-"))
    guide = (ROOT / "docs" / ("hospital_node.md" if name == "node" else "federation.md")).read_text()
    assert f"deploy/{name}.compose.yaml" in guide
    assert f"--rm {name} train" in guide
    assert (service.get("network_mode") == "host") is (name == "coordinator")  # it listens on the machine's own address


def test_no_secret_is_written_in_the_files():
    given = [item for one in COMPOSE["services"].values() for item in one.get("environment", {}).items()]
    secrets = [value for name, value in given if "PASSWORD" in name or "SECRET" in name]
    assert len(secrets) == 4
    assert all(value.startswith("${") for value in secrets)


def test_the_application_is_installed_without_fed_biomed():
    dockerfile = (ROOT / "Dockerfile").read_text()
    copied, installed = r"(?:ARG LOCK=(\w+)\n)?COPY requirements/(\S+).txt .*\n", r".*--require-hashes .*/(\S+).txt"
    locks = re.findall(rf"AS (\w+)-packages\n{copied}RUN .*\n{installed}", dockerfile)
    assert locks == [("app", "app", "${LOCK}", "${LOCK}"), ("training", "", "training", "training")]
    for name, packages in {"app": "fedbiomed|torch|captum|nvidia-|triton", "app-gpu": "fedbiomed"}.items():
        assert not re.search(rf"(?m)^({packages})", (ROOT / "requirements" / f"{name}.txt").read_text())
    assert "USER 10001" in dockerfile
    assert "HEALTHCHECK" in dockerfile.split("AS app\n")[1]


def _port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def archive(tmp_path):
    """Debian's Orthanc with the configuration of the containers, but for places and ports; gives both ports."""
    program = shutil.which("Orthanc", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        message = "Orthanc is missing: apt-get install -y --no-install-recommends orthanc"
        pytest.fail(message) if os.environ.get("CI") == "true" else pytest.skip(message)
    ours, receiver = _port(), _port()
    modalities = {
        name: one | {"Host": "127.0.0.1"} | ({"Port": receiver} if name == "receiver" else {})
        for name, one in ORTHANC["DicomModalities"].items()
    }
    changed = {
        "StorageDirectory": str(tmp_path / "db"),
        "IndexDirectory": str(tmp_path / "db"),
        "DicomPort": ours,
        "DicomModalities": modalities,
        "LuaScripts": [str(ROOT / "deploy/forward.lua")],
        "StableAge": 1,
    }
    (tmp_path / "orthanc.json").write_text(json.dumps(ORTHANC | changed))
    log = (tmp_path / "log").open("w")
    with log, subprocess.Popen([program, str(tmp_path / "orthanc.json")], stdout=log, stderr=log) as process:
        try:
            yield ours, receiver
        finally:
            process.kill()


def test_the_archive_forwards_images_and_keeps_results(archive, dicom):
    port, receiver = archive
    came, done = [], threading.Event()

    def store(event):
        came.append(event.dataset.SOPInstanceUID)
        if len(came) == 4:
            done.set()
        return 0x0000

    scans = dicom.pet(np.ones((4, 4, 4)))
    result = Dataset()
    result.SOPClassUID, result.SOPInstanceUID = ComprehensiveSRStorage, generate_uid()
    result.PatientID, result.StudyInstanceUID = scans[0].PatientID, scans[0].StudyInstanceUID
    result.SeriesInstanceUID, result.Modality = generate_uid(), "SR"
    for one in (result, *scans):
        one.file_meta = FileMetaDataset()
        one.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    hospital, fedpet = AE("MAINPACS"), AE("FEDPETIN")
    for one in (result, scans[0]):
        hospital.add_requested_context(one.SOPClassUID)
        fedpet.add_supported_context(one.SOPClassUID)
    server = fedpet.start_server(("127.0.0.1", receiver), block=False, evt_handlers=[(evt.EVT_C_STORE, store)])
    try:
        sender = _associated(hospital, port)
        assert [sender.send_c_store(one).Status for one in (result, *scans)] == [0x0000] * 5
        sender.release()
        assert done.wait(30)
        assert set(came) == {one.SOPInstanceUID for one in scans}
    finally:
        server.shutdown()
    stranger = AE("STRANGER")
    stranger.add_requested_context(scans[0].SOPClassUID)
    association = stranger.associate("127.0.0.1", port, ae_title="ARCHIVE")
    assert not association.is_established or not association.send_c_store(scans[0])  # refused: no status
    association.abort()


def _associated(entity, port):
    """An association as soon as the archive answers."""
    for _ in range(100):
        association = entity.associate("127.0.0.1", port, ae_title="ARCHIVE")
        if association.is_established:
            return association
        threading.Event().wait(0.1)
    return pytest.fail("Orthanc did not start")
