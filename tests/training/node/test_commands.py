"""A hospital's node by its commands. One node only: Fed-BioMed's database connector is one for a process."""

from __future__ import annotations

import json
import socket
import ssl
import subprocess
import sys
from threading import Thread

import pytest
from typer.testing import CliRunner

from fedpet.core.errors import FederationError
from tests.support.certificates import self_signed

pytestmark = pytest.mark.federation


def train(*words):
    from app.cli.main import main

    return CliRunner().invoke(main, ["train", "node", *map(str, words)], env={"FEDPET_LANGUAGE": "en"})


def reported(done):
    """What was said, on one line."""
    return " ".join(done.stderr.split())


@pytest.fixture(scope="module")
def contract(training_nodes):
    return training_nodes.small_contract()


@pytest.fixture(scope="module")
def researcher(tmp_path_factory):
    """A TLS server with a certificate of its own, in place of a researcher."""
    path = tmp_path_factory.mktemp("researcher") / "server.pem"
    fingerprint = self_signed(path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    listener = socket.create_server(("localhost", 0))

    def answer():
        while True:
            try:
                connection, _ = listener.accept()
                with context.wrap_socket(connection, server_side=True):
                    pass
            except ssl.SSLError:
                continue
            except OSError:
                return

    Thread(target=answer, daemon=True).start()
    port = listener.getsockname()[1]
    yield port, fingerprint
    listener.close()


@pytest.fixture(scope="module")
def node(tmp_path_factory, researcher, contract, training_nodes):
    """Created with another certificate's fingerprint, its data registered and the installed plan approved."""
    root = tmp_path_factory.mktemp("hospital")
    address = f"localhost:{researcher[0]}"
    options = ("--fingerprint", "AA:" * 31 + "AA", "--epsilon-limit", 8)
    created = train("create", root / "node", "--name", "nice", "--researcher", address, *options)
    assert created.exit_code == 0, created.output
    agreed = root / "contract.json"
    agreed.write_text(json.dumps(contract.to_json()))
    data = training_nodes.write_node(root / "nice", contract, 20, seed=1, as_records=True)
    assert train("register", root / "node", data, "--contract", agreed).exit_code == 0
    before = json.loads(train("plans", root / "node", "--text", "--json").stdout)["plans"]
    assert train("approve", root / "node").exit_code == 0
    (root / "plans.json").write_text(json.dumps(before))
    return root


def test_status_tells_what_the_node_is_and_nothing_of_patients(node, contract):
    told = train("status", node / "node")
    status = json.loads(told.stdout)
    assert status["name"] == "nice"
    assert status["force_secure_aggregation"] == status["training_plan_approval"] == "True"
    assert status["allow_federated_analytics"] == status["allow_preproc"] == "False"
    assert status["certificate_sha256"] == "aa" * 32
    assert status["data"][0]["patients"] == 20
    assert status["data"][0]["contract"] == contract.fingerprint
    assert status["plans"] == [{"hash": status["plans"][0]["hash"], "status": "Approved", "installed": True}]
    assert status["privacy"] == {
        "epsilon_limit": 8.0,
        "epsilon_spent": 0.0,
        "delta": 1e-5,
        "trainings": 0,
        "trainings_without_noise": 0,
    }
    assert status["running"] is False
    assert "nice0000" not in told.stdout
    assert str(node) not in told.stdout


def test_the_installed_plan_can_be_read_before_it_is_approved(node):
    """Nobody approves what they have not read."""
    (before,) = json.loads((node / "plans.json").read_text())
    (after,) = json.loads(train("plans", node / "node", "--text", "--json").stdout)["plans"]
    assert (before["status"], after["status"]) == ("New", "Approved")
    assert before["hash"] == after["hash"]
    assert before["installed"] is after["installed"] is True
    read = train("plans", node / "node", "--text").stdout
    assert read.index(f"hash: {after['hash']}") < read.index("\n    class ")
    assert all(f"    {line}".rstrip() in read.splitlines() for line in after["text"].splitlines())
    assert "class FedPetPlan(TorchTrainingPlan)" in before["text"]
    assert before["text"] == after["text"]


def test_another_limit_keeps_what_was_spent(node):
    from training.node.privacy_budget import PrivacyLedger
    from training.task.privacy import PrivacySpending, total_epsilon

    round_ = PrivacySpending(patients=16, batch_size=4, epochs=1, noise=2.0)
    PrivacyLedger(node / "node").enter(round_)
    told = json.loads(train("budget", node / "node", "--epsilon-limit", 4, "--delta", 1e-4).stdout)
    assert (told["epsilon_limit"], told["delta"], told["trainings"]) == (4.0, 1e-4, 1)
    assert told["epsilon_spent"] == pytest.approx(total_epsilon([round_], 1e-4))
    PrivacyLedger(node / "node").enter(round_)
    assert "At most 8, as the node's policy says" in reported(train("budget", node / "node", "--epsilon-limit", 9))
    assert "An epsilon above 0" in reported(train("budget", node / "node", "--epsilon-limit", 0))
    assert json.loads(train("status", node / "node").stdout)["privacy"]["epsilon_spent"] > told["epsilon_spent"]


def test_registering_again_replaces_the_data(node, contract, training_nodes, tmp_path):
    more = training_nodes.write_node(tmp_path / "more" / "nice", contract, 30, seed=2, as_records=True)
    assert train("register", node / "node", more, "--contract", node / "contract.json").exit_code == 0
    assert [data["patients"] for data in json.loads(train("status", node / "node").stdout)["data"]] == [30]


def test_nobody_both_trains_and_evaluates(node, contract, training_nodes, tmp_path):
    """A pseudonym that is offered for one purpose is refused for the other."""
    agreed = ("--contract", node / "contract.json")
    same = training_nodes.write_node(tmp_path / "same" / "nice", contract, 12, seed=5, as_records=True, first=20)
    refused = train("register", node / "node", same, *agreed, "--evaluation")
    assert (refused.exit_code, "10 of these patients are offered for the other purpose" in reported(refused)) == (
        2,
        True,
    )
    apart = training_nodes.write_node(tmp_path / "apart" / "nice", contract, 12, seed=5, as_records=True, first=100)
    assert train("register", node / "node", apart, *agreed, "--evaluation").exit_code == 0
    status = json.loads(train("status", node / "node").stdout)
    assert [one["patients"] for one in status["evaluation_data"]] == [12]
    assert [one["patients"] for one in status["data"]] == [30]
    both = training_nodes.write_node(tmp_path / "both" / "nice", contract, 30, seed=6, as_records=True, first=90)
    assert "12 of these patients" in reported(train("register", node / "node", both, *agreed))


def test_too_few_damaged_and_foreign_data_are_refused(node, contract, training_nodes, tmp_path):
    few = training_nodes.write_node(tmp_path / "few" / "nice", contract, 8, seed=3, as_records=True)
    refused = train("register", node / "node", few, "--contract", node / "contract.json")
    assert refused.exit_code == 2
    assert "6 patients for the task. Needed: At least 10." in reported(refused)
    case = next((few / "cases").glob("*.npz"))
    case.write_bytes(case.read_bytes()[:90])
    policy = node / "node" / "policy.toml"
    before = policy.read_text()
    policy.write_text(before.replace("minimum_training = 10", "minimum_training = 2"))
    refused = train("register", node / "node", few, "--contract", node / "contract.json")
    policy.write_text(before)
    assert "cannot be read" in reported(refused)
    assert "prepared by another input contract" in reported(train("register", node / "node", few))


def test_the_data_of_another_site_replace_nothing_and_another_name_is_said(node, contract, training_nodes, tmp_path):
    from training.data.node_data import read_node
    from training.node.commands import other_name

    other = training_nodes.write_node(tmp_path / "lyon", contract, 20, seed=2, as_records=True)
    agreed = ("--contract", node / "contract.json")
    refused = train("register", node / "node", other, *agreed)
    assert (refused.exit_code, "data of nice; these are of lyon" in reported(refused)) == (2, True)
    assert json.loads(train("status", node / "node").stdout)["data"][0]["site"] == "nice"
    again = train("register", node / "node", node / "nice", *agreed)
    assert (again.exit_code, "is called" in reported(again)) == (0, False)
    assert train("create", tmp_path / "node", "--name", "nice", "--researcher", "localhost:1").exit_code == 0
    told = other_name(tmp_path / "node", read_node(other, contract))  # a process serves one node
    assert "is called nice and its data lyon" in str(told)


def test_approving_twice_changes_nothing_and_an_unknown_hash_is_refused(node):
    first = json.loads(train("plans", node / "node").stdout)
    assert train("approve", node / "node").exit_code == 0
    assert json.loads(train("plans", node / "node").stdout) == first
    assert first["fedpet"]
    assert "0 plans have a hash with this beginning" in reported(train("approve", node / "node", "zz"))


def test_a_folder_is_not_overwritten_and_an_address_is_complete(node, tmp_path):
    again = train("create", node / "node", "--name", "nice", "--researcher", "localhost:1")
    assert (again.exit_code, "is not empty" in reported(again)) == (2, True)
    assert "host:port" in reported(train("create", tmp_path / "new", "--name", "nice", "--researcher", "localhost"))
    assert "is no node" in reported(train("status", tmp_path))


@pytest.mark.parametrize(
    "wrong",
    [
        {"--fingerprint": "zz"},
        {"--fingerprint": "3fa9"},
        {"--fingerprint": "a" * 65},
        {"--fingerprint": "g" * 64},
        {"--name": "a b/../c"},
        {"--name": ""},
        {"--name": "Besançon"},
        {"--researcher": "localhost:99999"},
        {"--researcher": "localhost:0"},
        {"--researcher": "localhost:٣"},
        {"--researcher": ":50051"},
    ],
)
def test_what_would_fail_later_makes_no_node(tmp_path, wrong):
    given = {"--name": "nice", "--researcher": "10.220.0.2:50051", "--fingerprint": "3F:" * 31 + "a9", **wrong}
    refused = train("create", tmp_path / "new", *(word for pair in given.items() for word in pair))
    assert refused.exit_code == 2, refused.output
    assert not (tmp_path / "new").exists()


def test_a_node_ends_when_the_researcher_shows_another_certificate(node, researcher, monkeypatch):
    from training.node import commands as hospital

    monkeypatch.setattr(hospital, "_CHECK_SECONDS", 0.5)
    with pytest.raises(FederationError, match="another certificate"):
        hospital.start(node / "node")
    assert hospital.status(node / "node")["running"] is False
    (node / "node" / "researcher.sha256").unlink()
    told = []
    monkeypatch.setattr(hospital.internals, "start_command", lambda *_, **__: [sys.executable, "-c", "0"])
    with pytest.raises(FederationError, match="ended by itself"):
        hospital.start(node / "node", on_certificate=told.append)
    assert told in ([researcher[1]], [])
    assert hospital._certificate("localhost", researcher[0]) == researcher[1]


def test_proxies_are_passed_by(monkeypatch):
    from training.node.commands import _environment

    monkeypatch.setenv("no_proxy", "intranet")
    assert _environment("10.220.0.2")["no_proxy"] == "intranet,10.220.0.2"


def test_the_command_needs_no_fedbiomed_to_say_its_help(tmp_path):
    script = (
        "import sys\nfrom app.cli.main import main\n"
        "try:\n    main(['train', 'node', '--help'])\nfinally:\n    assert 'fedbiomed' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "approve" in done.stdout
