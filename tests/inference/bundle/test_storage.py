import hashlib
import json
import shutil
from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from safetensors.torch import load_file

from fedpet.core.errors import CorruptBundleError, IncompatibleBundleError, SettingsError
from inference.bundle.storage import FILES, OVERALL_SURVIVAL, Bundle, write_bundle, write_recalibrated
from inference.engine import Engine
from inference.input_contract import table_contract
from inference.network import NetworkOutput, build_network
from inference.overall_survival import OverallSurvivalModel


@pytest.fixture
def folder(untrained_bundle, tmp_path):
    return shutil.copytree(untrained_bundle.folder, tmp_path / "bundle")


def resign(folder):
    lines = [f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}\n" for name in FILES]
    (folder / "SHA256SUMS").write_text("".join(lines))


def test_loads_and_is_named_by_its_checksums(folder, untrained_bundle):
    bundle = Bundle.load(folder)
    assert bundle.digest == untrained_bundle.digest == hashlib.sha256((folder / "SHA256SUMS").read_bytes()).hexdigest()
    assert bundle.contract == untrained_bundle.contract


@pytest.mark.parametrize("name", FILES)
def test_one_flipped_bit_is_refused(folder, name):
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(CorruptBundleError, match=name):
        Bundle.load(folder)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_refused(folder, name):
    (folder / name).unlink()
    with pytest.raises(CorruptBundleError, match=name):
        Bundle.load(folder)


def test_a_folder_that_is_no_bundle_is_refused(tmp_path):
    with pytest.raises(IncompatibleBundleError, match="SHA256SUMS"):
        Bundle.load(tmp_path)


def test_another_format_is_refused_even_with_good_checksums(folder):
    card = json.loads((folder / "card.json").read_text())
    (folder / "card.json").write_text(json.dumps({**card, "format": "fedpet.bundle/99"}))
    resign(folder)
    with pytest.raises(IncompatibleBundleError, match=r"fedpet\.bundle/99"):
        Bundle.load(folder)


def test_a_changed_contract_is_refused_even_with_good_checksums(folder):
    contract = json.loads((folder / "contract.json").read_text())
    contract["spacing_mm"] = 4.0
    (folder / "contract.json").write_text(json.dumps(contract))
    resign(folder)
    with pytest.raises(IncompatibleBundleError, match="another contract"):
        Bundle.load(folder)


def test_overall_survival_is_a_file_of_its_own_that_the_checksums_cover(untrained_bundle, tmp_path):
    contract = untrained_bundle.contract
    weights, baseline = dict.fromkeys(contract.inputs, 0.1), (-3.0,) * (len(contract.month_edges) - 1)
    model = OverallSurvivalModel(weights, baseline, untrained_bundle.calibration, 0.4)
    written = write_recalibrated(
        tmp_path / "with",
        replace(untrained_bundle, overall_survival=model),
        calibration=untrained_bundle.calibration,
        card=untrained_bundle.card,
    )
    assert written.overall_survival == model
    assert Bundle.load(untrained_bundle.folder).overall_survival is None
    path = written.folder / OVERALL_SURVIVAL
    content = path.read_bytes()
    path.write_bytes(content.replace(b"0.1", b"0.2", 1))
    with pytest.raises(CorruptBundleError, match=OVERALL_SURVIVAL):
        Bundle.load(written.folder)
    path.unlink()
    with pytest.raises(CorruptBundleError, match="exactly the files"):
        Bundle.load(written.folder)
    unlisted = shutil.copytree(untrained_bundle.folder, tmp_path / "unlisted") / OVERALL_SURVIVAL
    unlisted.write_bytes(content)
    with pytest.raises(CorruptBundleError, match="exactly the files"):
        Bundle.load(unlisted.parent)


def test_an_unlisted_network_with_other_outputs_is_refused(folder):
    model = onnx.load(folder / "model.onnx")
    del model.graph.output[-1]
    onnx.save(model, folder / "model.onnx")
    resign(folder)
    with pytest.raises(IncompatibleBundleError, match="outputs"):
        Engine(Bundle.load(folder), provider="cpu")


def test_nothing_is_overwritten(folder, untrained_bundle):
    with pytest.raises(FileExistsError):
        write_bundle(
            folder,
            onnx=b"",
            weights=b"",
            contract=untrained_bundle.contract,
            calibration=untrained_bundle.calibration,
            card={},
        )


def test_engine_answers_like_torch_on_the_same_weights(untrained_bundle):
    contract = untrained_bundle.contract
    network = build_network("evidence", contract)
    network.load_state_dict(load_file(untrained_bundle.weights))
    rng = np.random.default_rng(0)
    image = np.stack([rng.gamma(2.0, 0.5, contract.shape), rng.normal(-300, 300, contract.shape)]).astype(np.float32)
    clinical = rng.normal(size=len(contract.inputs)).astype(np.float32)
    with torch.no_grad():
        batch = network(torch.tensor(image[None]), torch.tensor(clinical[None]))
    expected = NetworkOutput(*(output[0].numpy() for output in batch))
    answered = Engine(untrained_bundle, provider="cpu").run(image, clinical)
    assert answered.hazard_logits == pytest.approx(expected.hazard_logits, abs=1e-5)
    assert np.abs(answered.maps - expected.maps).max() < 1e-5
    assert answered.score == pytest.approx(answered.contributions.sum(), abs=1e-5)


def test_a_provider_that_is_not_there_is_said(untrained_bundle):
    engine = Engine(untrained_bundle, provider="auto")
    if engine.provider == "CUDAExecutionProvider":
        pytest.skip("this machine has a CUDA GPU")
    assert engine.provider == "CPUExecutionProvider"
    with pytest.raises(SettingsError, match="cuda"):
        Engine(untrained_bundle, provider="cuda")


def test_a_model_that_reads_tables_of_other_rules_is_refused(folder):
    contract = replace(table_contract(), table_version="0")
    card = json.loads((folder / "card.json").read_text())
    (folder / "card.json").write_text(json.dumps({**card, "contract_fingerprint": contract.fingerprint}))
    contract.write(folder / "contract.json")
    resign(folder)
    with pytest.raises(IncompatibleBundleError, match="rules “0”"):
        Bundle.load(folder)


def test_parameters_outside_the_bundle_are_refused_although_the_checksums_fit(folder):
    path = folder / "model.onnx"
    network = onnx.load(path)
    onnx.save_model(network, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    lines = (folder / "SHA256SUMS").read_text().splitlines()
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    written = [f"{digest}  model.onnx" if line.endswith("model.onnx") else line for line in lines]
    (folder / "SHA256SUMS").write_text("\n".join(written) + "\n")
    with pytest.raises(CorruptBundleError, match="another file"):
        Bundle.load(folder)
