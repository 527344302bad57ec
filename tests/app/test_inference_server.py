"""The network on a real server of the Open Inference Protocol: the same answer, and clear words where there is none.

MLServer runs the repository that `fedpet model export-triton` writes; TLS and the token are those of a gate before it.
`tests/app/cli/test_study.py` predicts by it.
"""

from __future__ import annotations

import json
import subprocess
import time

import numpy as np
import pytest
from pydantic import ValidationError
from typer.testing import CliRunner

from app.cli.main import main
from fedpet.core.connection_settings import InferenceServerSettings
from fedpet.core.errors import InferenceServerError
from inference.bundle.storage import load_model
from inference.engine import Engine, largest_difference
from tests.support import inference_server


@pytest.fixture(scope="module")
def server(tmp_path_factory, untrained_bundle):
    """A real server with a model of the lesion table and one that reads images, behind TLS and a token."""
    with inference_server.serving(tmp_path_factory.mktemp("server"), load_model(), untrained_bundle) as opened:
        yield opened


@pytest.fixture
def spoil(server, monkeypatch):
    """Change what the server answers to questions whose path ends so."""

    def plant(ending, status=200, answer=None, headers=None):
        def spoiled(path, found, body):
            if not path.endswith(ending):
                return found, body, {}
            return status, body if answer is None else answer(body), headers or {}

        monkeypatch.setattr(server, "spoil", spoiled)

    return plant


def made_up(bundle):
    rng = np.random.default_rng(3)
    shape = bundle.contract.shape
    image = np.stack([rng.gamma(2.0, 0.5, shape), rng.normal(-300, 300, shape)]).astype(np.float32)
    return image, rng.normal(size=len(bundle.contract.inputs)).astype(np.float32)


def test_the_repository_is_one_of_triton(server):
    """NVIDIA's own schema, which comes with MLServer's environment, reads the configuration."""
    code = (
        "import sys; from google.protobuf import text_format; from tritonclient.grpc import model_config_pb2 as m\n"
        "for path in sys.argv[1:]:\n"
        "    c = text_format.Parse(open(path).read(), m.ModelConfig())\n"
        "    print(c.name, c.backend, c.max_batch_size, *(list(one.dims) for one in (*c.input, *c.output)))"
    )
    done = CliRunner().invoke(main, ["model", "export-triton", str(load_model().folder), str(server.repository)])
    assert done.exit_code == 2
    assert done.stderr  # the model is there
    paths = sorted(server.repository.glob("*/config.pbtxt"))
    command = [inference_server.mlserver_python(), "-c", code, *paths]
    read = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert [line.split(" ")[0] for line in read] == [path.parent.name for path in paths]
    table = next(line for line in read if "demonstration" in line)
    assert table.endswith("onnxruntime 0 [-1, 2, 1, 1, 1] [-1, 32] [-1, 8] [-1] [-1, 32]")  # no tensor without elements
    assert all((path.parent / "1" / "model.onnx").is_file() for path in paths)


@pytest.mark.parametrize("kind", ["table", "images"])
def test_the_server_answers_as_this_machine(server, untrained_bundle, kind):
    bundle = load_model() if kind == "table" else untrained_bundle
    patient = made_up(bundle)
    here, there = Engine(bundle, provider="cpu"), Engine(bundle, server=server.settings())
    assert "localhost" in there.provider
    answered = there.run(*patient)
    assert largest_difference(here.run(*patient), answered) < 1e-5
    assert largest_difference(here.run(patient[0] * 1.1, patient[1] + 0.01), answered) > 1e-4  # it can fail


def test_doctor_compares_the_server_with_this_machine(server, tmp_path, monkeypatch):
    settings = server.settings()
    monkeypatch.setenv("FEDPET_HOME", str(tmp_path))
    monkeypatch.setenv("FEDPET_INFERENCE_SERVER", settings.model_dump_json())
    told = CliRunner().invoke(main, ["doctor", "--no-pacs", "--json"])
    found = {one["name"]: one for one in json.loads(told.stdout)["findings"]}["inference server"]
    assert found["sound"]
    assert "largest difference" in found["found"]


def without(name):
    def change(body):
        content = json.loads(body)
        content["outputs"] = [one for one in content["outputs"] if one["name"] != name]
        return json.dumps(content).encode()

    return change


def changed(field, value):
    def change(body):
        content = json.loads(body)
        content["outputs"][0][field] = value
        return json.dumps(content).encode()

    return change


@pytest.mark.parametrize(
    ("planted", "said"),
    [
        (("/infer", 500), "HTTP 500"),
        (("/infer", 302, None, {"Location": "http://127.0.0.1:9/"}), "HTTP 302"),
        (("/infer", 200, lambda _: b"<html>"), "cannot be read"),
        (("/infer", 200, lambda _: b"[1]"), "cannot be read"),
        (("/infer", 200, without("score")), "score is missing"),
        (("/infer", 200, changed("data", [0.0] * 7)), "hazard_logits is missing or cannot be read"),
        (("/infer", 200, changed("shape", [2, 4])), "has the shape 2x4"),
        (("/infer", 200, changed("data", [None] + [0.0] * 7)), "no numbers"),
        (("/infer", 200, lambda body: time.sleep(1.5) or body), "did not answer in 1 s"),
        (("-0602f53fb42b", 404), "HTTP 404"),
        (("-0602f53fb42b", 200, without("score")), "inputs and outputs are not those"),
        (("-0602f53fb42b", 200, lambda body: body.replace(b"-1,32]", b"-1,31]")), "input clinical is not that"),
        (("-0602f53fb42b", 200, lambda body: body.replace(b"FP32", b"FP16")), "input image is not that"),
    ],
)
def test_an_answer_that_is_not_of_this_model_is_said(server, spoil, planted, said):
    bundle = load_model()
    spoil(*planted)
    with pytest.raises(InferenceServerError, match=said) as raised:
        Engine(bundle, server=server.settings(timeout_s=1.0)).run(*made_up(bundle))
    assert inference_server.TOKEN not in str(raised.value)


def test_a_connection_that_cannot_be_had_is_said(server, tmp_path, monkeypatch):
    def refused(**changed):
        with pytest.raises(InferenceServerError) as raised:
            Engine(load_model(), server=server.settings(**changed))
        return str(raised.value)

    (tmp_path / "wrong").write_text("another")
    (tmp_path / "lines").write_text("two\nlines")
    monkeypatch.delenv("NO_SUCH_TOKEN", raising=False)
    assert "refuses (HTTP 401)" in refused(secret_file=tmp_path / "wrong")
    assert "refuses (HTTP 401)" in refused(secret_file=None)
    for changed in ({"secret_file": tmp_path / "none"}, {"secret_file": None, "secret_env": "NO_SUCH_TOKEN"}):
        assert "token for the inference server is missing" in refused(**changed)
    assert "more than one line" in refused(secret_file=tmp_path / "lines")
    assert "encrypted connection failed (self-signed certificate)" in refused(ca_file=None)
    assert "certificate of the settings cannot be read" in refused(ca_file=tmp_path / "none")
    assert "no connection (Connection refused)" in refused(url="https://127.0.0.1:9")
    image_model = next(path.name for path in server.repository.iterdir() if path.name.startswith("untrained"))
    assert "input image is not that" in refused(model=image_model)  # a model that is there, and not this one


@pytest.mark.parametrize(
    "url", ["http://gpu.hospital.example:8000", "https://user:secret@gpu.hospital.example", "ftp://gpu", "gpu:8000"]
)
def test_an_address_that_would_betray_a_patient_or_a_secret_is_refused(url):
    with pytest.raises(ValidationError):
        InferenceServerSettings(url=url)
