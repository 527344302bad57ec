from __future__ import annotations

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from app.cli.main import main
from fedpet.core.errors import SettingsError
from fedpet.core.pseudonyms import pseudonym
from inference.input_contract import InputContract, default_contract, table_contract
from training.data.node_data import read_rows
from training.data.prepare import prepare_node_data
from training.evaluation.cohort import pool_node_data
from training.simulation.cohort import simulate_cohort
from training.simulation.node_data import Preparation, contract_at, simulate_nodes
from training.simulation.patients.centres import SITES
from training.simulation.patients.population import draw_patient
from training.simulation.patients.risk import image_features, risk

KEY = b"a secret of the centre"
CONTRACT = contract_at(16)
CODES = [site.code for site in SITES[:5]]  # with Philips' GML (S3) and GE's ADMIN (S5)
COHORT = {"patients": 5, "sites": 5, "seed": 13}


@pytest.fixture(scope="module")
def nodes(tmp_path_factory):
    """One patient of each of five centres, straight to node data, on two processes."""
    out, told = tmp_path_factory.mktemp("nodes"), []
    simulate_nodes(
        **COHORT,
        out=out,
        preparation=Preparation(CONTRACT, KEY),
        fidelity="coarse",
        workers=2,
        progress=lambda fraction, _: told.append(fraction),
    )
    assert told == pytest.approx([0.2, 0.4, 0.6, 0.8, 1])
    return out


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    """The same patients without images."""
    out = tmp_path_factory.mktemp("bare")
    simulate_nodes(**COHORT, out=out, preparation=Preparation(contract_at(0), KEY))
    return out


@pytest.fixture(scope="module")
def raw_cohort(tmp_path_factory):
    """The same patients as DICOM, tables and truth."""
    out = tmp_path_factory.mktemp("raw")
    simulate_cohort(**COHORT, out=out, fidelity="coarse")
    return out


def test_both_routes_give_the_same_bytes(nodes, raw_cohort, tmp_path):
    for code in CODES:
        raw, out = raw_cohort / code, tmp_path / "nodes" / code
        masks = raw / "truth"
        prepare_node_data(raw / "dicom", raw / "clinical.csv", out, contract=CONTRACT, pseudonym_key=KEY, masks=masks)
        files = {path.relative_to(out): path.read_bytes() for path in out.rglob("*") if path.is_file()}
        assert len(files) == 4
        for name, content in files.items():
            assert (nodes / code / name).read_bytes() == content, name
    summaries = [json.loads((folder / "cohort.json").read_text()) for folder in (raw_cohort, nodes)]
    assert summaries[0].items() < summaries[1].items()


def test_both_routes_give_the_same_lesion_tables(raw_cohort, tmp_path):
    two = {"patients": 2, "sites": 2, "seed": COHORT["seed"], "fidelity": "coarse"}
    contract = table_contract()
    simulate_nodes(**two, out=tmp_path / "straight", preparation=Preparation(contract, KEY))
    for code in CODES[:2]:
        raw, out, straight = raw_cohort / code, tmp_path / "nodes" / code, tmp_path / "straight" / code
        prepare_node_data(raw / "dicom", raw / "clinical.csv", out, contract=contract, pseudonym_key=KEY)
        (case,) = (out / "cases").iterdir()
        assert (straight / "cases" / case.name).read_bytes() == case.read_bytes()
        (prepared,), (at_once,) = read_rows(out), read_rows(straight)
        assert prepared.items() < at_once.items()
        assert set(at_once) - set(prepared) == {"true_pfs_12m", "tmtv_ml"}
        assert float(at_once["lesion:tmtv_ml"]) > 0


def test_the_evaluation_finds_what_it_needs(nodes):
    cohort = pool_node_data([nodes / code for code in CODES], CONTRACT)
    assert list(cohort.vendor) == [site.vendor for site in SITES[:5]]
    patients = [draw_patient(site, 0, seed=COHORT["seed"]) for site in SITES[:5]]
    assert list(cohort.case_ids) == [pseudonym(patient.id, KEY) for patient in patients]
    assert cohort.tmtv() == pytest.approx([image_features(patient).tmtv_ml for patient in patients])
    assert cohort.truth == pytest.approx([risk(patient).pfs_12m for patient in patients])
    assert (cohort.synthetic, cohort.has_images, cohort.words) == (True, True, frozenset())
    assert all(case.image[0].max() > 3 and case.concepts[0].any() for case in cohort.cases)


def test_without_images_everything_else_stays(nodes, bare):
    with_images = pool_node_data([nodes / code for code in CODES], CONTRACT)
    without = pool_node_data([bare / code for code in CODES], contract_at(0))
    assert not without.has_images
    assert not any(case.supervised.any() or case.image.any() for case in without.cases)
    assert without.case_ids == with_images.case_ids
    for one in ("months", "event", "clinical", "truth", "vendor"):
        np.testing.assert_array_equal(getattr(without, one), getattr(with_images, one))
    np.testing.assert_array_equal(without.tmtv(), with_images.tmtv())


def test_the_contract_of_the_node_data_is_written_beside_it(nodes, bare):
    """Whatever prepares, trains or predicts on another grid than the default one needs it."""
    assert InputContract.read(nodes / "contract.json") == CONTRACT
    assert InputContract.read(bare / "contract.json") == contract_at(0)


def test_a_coarser_grid_covers_the_same_box():
    default = default_contract()
    assert contract_at(8) == default
    assert CONTRACT.fingerprint != default.fingerprint
    assert [n * 16 for n in CONTRACT.shape] == [n * 8 for n in default.shape]


def test_an_earlier_run_leaves_no_case(bare, tmp_path):
    simulate_nodes(patients=2, sites=1, seed=12, out=tmp_path, preparation=Preparation(contract_at(0), KEY))
    (tmp_path / "S1" / "cases" / "P-0.npz").touch()
    simulate_nodes(patients=2, sites=1, seed=12, out=tmp_path, preparation=Preparation(contract_at(0), KEY))
    names = {path.name for path in (tmp_path / "S1" / "cases").iterdir()}
    assert len(names) == 2
    assert names > {path.name for path in (bare / "S1" / "cases").iterdir()}


def test_impossible_cohorts_are_refused(tmp_path):
    with pytest.raises(SettingsError):
        simulate_nodes(patients=3, sites=4, seed=0, out=tmp_path, preparation=Preparation(CONTRACT, KEY))


def test_the_command_uses_the_key_of_the_settings(bare, tmp_path, monkeypatch):
    monkeypatch.setenv("FEDPET_HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "pseudonym.key").write_bytes(KEY)
    given = ["--patients", "5", "--sites", "5", "--seed", str(COHORT["seed"]), "--node-data", "--spacing", "0"]
    done = CliRunner().invoke(main, ["cohort", "simulate", *given, "--out", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    for code in CODES:
        assert (tmp_path / "out" / code / "cases.csv").read_bytes() == (bare / code / "cases.csv").read_bytes()
