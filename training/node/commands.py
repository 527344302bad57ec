"""The commands of a hospital's data manager: create a node, offer data, read and approve plans, start the node."""

from __future__ import annotations

import fcntl
import json
import os
import re
import ssl
import subprocess
import time
from dataclasses import dataclass
from hashlib import sha256
from importlib.metadata import distribution
from math import isfinite
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

import fedpet
from fedpet.core.errors import FederationError, NodeDataError
from fedpet.core.messages import Message
from training.data.node_data import built_in_contract, read_node, read_rows, require_patients, split
from training.data.plausibility import require_plausible
from training.node import fedbiomed_node as internals
from training.node.admission import RequestLog
from training.node.policy import DELTA, NodePolicy, read_policy, write_policy
from training.node.process import PARENT_VARIABLE
from training.task.code_digest import code_digest
from training.task.registration import EVALUATION_TAGS, TAGS, node_name
from training.task.task import node_facts

if TYPE_CHECKING:
    from collections.abc import Callable

    from inference.input_contract import InputContract
    from training.data.node_data import NodeData

_PIN = "researcher.sha256"  # in the node's folder: digest of the researcher's trusted certificate
_LOCK = "node.lock"  # in the node's folder: held while the node runs
_CHECK_SECONDS = 5.0
_NEW = "New"
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_PORT = re.compile(r"[0-9]{1,5}")
_LAST_PORT = 65535
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Plan:
    """A training plan as a node knows it.

    Attributes:
        status: Approved, Pending (a researcher sent it), Rejected, or New (installed here, not yet approved).
        ours: its hash is that of the plan of the fedpet installed here.
    """

    id: str
    hash: str
    status: str
    ours: bool
    text: str


def create(
    folder: Path,
    name: str,
    researcher: str,
    *,
    fingerprint: str = "",
    policy: NodePolicy | None = None,
) -> None:
    """Make a node's folder.

    Args:
        folder: new or empty.
        name: of the site.
        researcher: host:port.
        fingerprint: SHA-256 of the researcher's certificate, received through another channel; without it the first
            certificate that the node sees is trusted from then on.
        policy: what the node allows; None for the default one.

    Raises:
        FederationError: the folder is not empty, or the name, the address or the fingerprint is none.
    """
    if folder.exists() and any(folder.iterdir()):
        raise FederationError(
            found=Message("The folder {name} is not empty.", name=folder.name),
            needed=Message("A new or an empty folder."),
            advice=Message("Give another folder; nothing is overwritten."),
        )
    if not _NAME.fullmatch(name):
        raise FederationError(
            found=Message("The site name “{name}”.", name=name[:40]),
            needed=Message("Letters without accents, digits, - and _: it becomes part of file names."),
            advice=Message("Give a short name, for example nice."),
        )
    host, port = _address(researcher)
    digest = _digest(fingerprint) if fingerprint else ""
    policy = policy or NodePolicy()
    internals.create(folder, name, host, port, force_masks=policy.peers.masked)
    write_policy(folder, policy)
    if digest:
        (folder / _PIN).write_text(digest, encoding="ascii")


def _address(researcher: str) -> tuple[str, int]:
    """Host and port."""
    host, _, port = researcher.rpartition(":")
    if not host or not _PORT.fullmatch(port) or not 1 <= int(port) <= _LAST_PORT:
        raise FederationError(
            found=Message("The address “{address}”.", address=researcher),
            needed=Message(
                "The researcher's address as host:port, the host as in the researcher's certificate, the port from"
                " 1 to 65535."
            ),
            advice=Message("Ask the coordinating centre for it, for example 10.220.0.2:50051."),
        )
    return host, int(port)


def _digest(fingerprint: str) -> str:
    """The SHA-256 as the node compares it: a shortened or mistyped one would stop the node at its start."""
    digest = fingerprint.replace(":", "").lower()
    if not _SHA256.fullmatch(digest):
        raise FederationError(
            found=Message(
                "The fingerprint has {count} characters, or others than digits and a to f.", count=len(digest)
            ),
            needed=Message("The SHA-256 of the coordinating centre's certificate: 64 digits and letters a to f."),
            advice=Message("Copy the whole line that “fedpet train identity” shows at the coordinating centre."),
        )
    return digest


def register(
    folder: Path, data: Path, *, contract: InputContract | None = None, for_evaluation: bool = False
) -> NodeData:
    """Check node data completely and offer it to the researcher.

    The node's policy says how many patients it must have.

    Args:
        folder: of the node.
        data: the node data.
        contract: input contract that prepared it; None for the default one, or that of the lesion table.
        for_evaluation: finished models are evaluated on it, and none is trained.

    Raises:
        NodeDataError: a file is damaged, another contract prepared it, there are too few patients, it holds what
            cannot be true (`training.data.plausibility`), or a patient is offered for the other purpose.
        FederationError: the folder is no node, or offers the data of another site.
        SettingsError: its policy cannot be read.
    """
    _require_node(folder)
    rules = read_policy(folder).data
    contract = contract or built_in_contract(data)
    node = read_node(data, contract)
    if for_evaluation:
        require_patients(len(node.case_ids), max(rules.minimum_losses, rules.minimum_validation))
    else:
        training, _ = split(node.case_ids, rules.validation_fraction, rules.validation_seed)
        require_patients(len(training), rules.minimum_training)
    require_plausible(node)
    tags, others = (EVALUATION_TAGS, TAGS) if for_evaluation else (TAGS, EVALUATION_TAGS)
    _require_same_site(folder, node_name(node.site))
    _require_apart(folder, node, others)
    internals.register_data(folder, data.resolve(), node_name(node.site), tags, node_facts(node, contract))
    return node


def _require_apart(folder: Path, node: NodeData, others: list[str]) -> None:
    """Nobody both trains a model and evaluates it."""
    offered = [Path(one["path"]) for one in internals.offered(folder, others)]
    known = {row["case_id"] for path in offered if path.is_dir() for row in read_rows(path)}
    if both := known.intersection(node.case_ids):
        raise NodeDataError(
            found=Message("{count} of these patients are offered for the other purpose.", count=len(both)),
            needed=Message("Patients for trainings and patients for evaluations, nobody in both."),
            advice=Message("Prepare the two folders from different patients."),
        )


def _require_same_site(folder: Path, site: str) -> None:
    for one in (*internals.offered(folder, TAGS), *internals.offered(folder, EVALUATION_TAGS)):
        if one["name"] != site:
            raise FederationError(
                found=Message("The node offers the data of {known}; these are of {site}.",
                              known=one["name"], site=site),
                needed=Message("Data of the same site: a node belongs to one hospital."),
                advice=Message("Give the folder of {known}, or create another node for {site}.",
                               known=one["name"], site=site),
            )  # fmt: skip


def other_name(folder: Path, data: NodeData) -> Message | None:
    """What to look at where a node and the data that it offers bear different names; None where they do not."""
    name = internals.settings(folder)["name"]
    if name == node_name(data.site):
        return None
    return Message(
        "The node is called {name} and its data {site}: the others will see {site}. If these are the data of another"
        " site, create the node anew and register the right folder.",
        name=name,
        site=data.site,
    )


def set_budget(folder: Path, epsilon: float, delta: float = DELTA) -> dict[str, Any]:
    """Set another limit of epsilon; returns the account as in `status`.

    Raises:
        FederationError: the folder is no node, the limit is invalid, or the ledger is damaged.
    """
    from training.node.privacy_budget import EpsilonLimit, PrivacyLedger

    _require_node(folder)
    PrivacyLedger(folder).set_limit(EpsilonLimit(epsilon, delta))
    return _budget(folder)


def policy(folder: Path) -> NodePolicy:
    """What the node allows.

    Raises:
        FederationError: the folder is no node.
        SettingsError: the file cannot be read.
    """
    _require_node(folder)
    return read_policy(folder)


def _budget(folder: Path) -> dict[str, Any]:
    from training.node.privacy_budget import PrivacyLedger

    account = PrivacyLedger(folder).read()
    spent = account.epsilon()
    return {
        "epsilon_limit": None if account.limit is None else account.limit.epsilon,
        "epsilon_spent": spent if isfinite(spent) else None,
        "delta": DELTA if account.limit is None else account.limit.delta,
        "trainings": len(account.trainings),
        "trainings_without_noise": sum(one.noise is None for one in account.trainings),
    }


def plans(folder: Path) -> list[Plan]:
    """The plan of the fedpet installed here, and every plan that was approved here or sent by a researcher.

    Raises:
        FederationError: the folder is no node.
    """
    _require_node(folder)
    text = internals.installed_plan()
    ours = internals.plan_hash(folder, text)
    known = [
        Plan(
            one["training_plan_id"],
            one["hash"],
            one["training_plan_status"],
            one["hash"] == ours,
            one["training_plan"],
        )
        for one in internals.plans(folder)
    ]
    return known if any(plan.ours for plan in known) else [Plan("", ours, _NEW, ours=True, text=text), *known]


_NO_WHEEL: Final = "not recorded: fedpet was not installed from a wheel file"


def installed_code() -> dict[str, str]:
    """What the reviewer of a plan compares with the coordinating centre: version, digests of code and wheel."""
    origin = json.loads(distribution("fedpet").read_text("direct_url.json") or "{}")
    wheel = origin.get("archive_info", {}).get("hashes", {}).get("sha256", "")
    return {"fedpet": fedpet.__version__, "sources_sha256": code_digest(), "wheel_sha256": wheel or _NO_WHEEL}


def approve(folder: Path, beginning: str | None = None) -> Plan:
    """Approve a plan by the beginning of its hash; without one, the plan of the fedpet installed here.

    Raises:
        FederationError: no plan, or more than one, has that hash.
    """
    fits = [plan for plan in plans(folder) if (plan.hash.startswith(beginning) if beginning else plan.ours)]
    if len(fits) != 1:
        raise FederationError(
            found=Message("{count} plans have a hash with this beginning.", count=len(fits)),
            needed=Message("Exactly one plan."),
            advice=Message("Take the hash from “fedpet train node plans”."),
        )
    if fits[0].status == _NEW:
        internals.approve_installed(folder)
    elif fits[0].status != "Approved":
        internals.approve(folder, fits[0].id)
    return next(plan for plan in plans(folder) if plan.hash == fits[0].hash)


def status(folder: Path) -> dict[str, Any]:
    """The identity, data and permissions of a node; nothing about a patient.

    Raises:
        FederationError: the folder is no node, or its ledger is damaged.
    """
    _require_node(folder)
    known = internals.settings(folder)
    pin = folder / _PIN
    return {
        **known,
        "researcher": f"{known.pop('host')}:{known.pop('port')}",
        "certificate_sha256": pin.read_text(encoding="ascii") if pin.is_file() else "—",
        "data": _described(folder, TAGS),
        "evaluation_data": _described(folder, EVALUATION_TAGS),
        "plans": [{"hash": plan.hash, "status": plan.status, "installed": plan.ours} for plan in plans(folder)],
        "privacy": _budget(folder),
        "requests": RequestLog(folder).counts(),
        "running": _running(folder),
    }


def _described(folder: Path, tags: list[str]) -> list[dict[str, Any]]:
    return [json.loads(one["description"]) | {"site": one["name"]} for one in internals.offered(folder, tags)]


def start(
    folder: Path,
    *,
    gpu: bool = False,
    gpu_number: int | None = None,
    on_certificate: Callable[[str], None] = lambda _: None,
) -> None:
    """Run the node until it is interrupted; stop it if the researcher shows another certificate than the trusted one.

    Args:
        folder: of the node.
        gpu: offer a GPU of this machine.
        gpu_number: which one.
        on_certificate: called with the SHA-256 of the certificate when it is trusted for the first time.

    Raises:
        FederationError: no data is registered, the node runs already, the certificate is another one, or the node
            ended by itself.
    """
    _require_node(folder)
    known = internals.settings(folder)
    if not (internals.offered(folder, TAGS) or internals.offered(folder, EVALUATION_TAGS)):
        raise FederationError(
            found=Message("The node offers no data."),
            needed=Message("Registered node data."),
            advice=Message("Run “fedpet train node register” first."),
        )
    with (folder / _LOCK).open("ab") as lock, (folder / "node.log").open("ab") as log:
        if not _locked(lock):
            raise FederationError(
                found=Message("The node runs already."),
                needed=Message("One process for each node: two on one folder disturb each other."),
                advice=Message("Stop the other one first."),
            )
        process = subprocess.Popen(  # noqa: S603  our own interpreter and folder
            internals.start_command(folder.resolve(), gpu=gpu, gpu_number=gpu_number),
            env=_environment(known["host"]),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=(lock.fileno(),),  # the lock lasts as long as the node does, also when this process is killed
        )
        try:
            while process.poll() is None:
                if certificate := _certificate(known["host"], int(known["port"])):
                    _require_pinned(folder, certificate, on_certificate)
                time.sleep(_CHECK_SECONDS)
        finally:
            process.kill()
            process.wait()
    raise FederationError(
        found=Message("The node ended by itself."),
        needed=Message("A node that runs until it is interrupted."),
        advice=Message("Read node.log in the node's folder."),
    )


def _require_pinned(folder: Path, certificate: str, on_certificate: Callable[[str], None]) -> None:
    pin = folder / _PIN
    if not pin.is_file():
        pin.write_text(certificate, encoding="ascii")
        on_certificate(certificate)
    elif pin.read_text(encoding="ascii") != certificate:
        raise FederationError(
            found=Message("The researcher shows another certificate: {start}…", start=certificate[:16]),
            needed=Message("The trusted one: {start}…", start=pin.read_text(encoding="ascii")[:16]),
            advice=Message("Ask the coordinating centre; if it is theirs, put it into {file}.", file=_PIN),
        )


def _certificate(host: str, port: int) -> str | None:
    """SHA-256 of the certificate that the researcher shows; None while it cannot be reached."""
    try:
        shown = ssl.get_server_certificate((host, port), timeout=_CHECK_SECONDS)
    except OSError:
        return None
    return sha256(ssl.PEM_cert_to_DER_cert(shown)).hexdigest()


def _environment(host: str) -> dict[str, str]:
    """The environment of this process, with the researcher excluded from proxies, which break gRPC."""
    past = {name: f"{os.environ.get(name, '')},{host}".strip(",") for name in ("no_proxy", "NO_PROXY")}
    packages = os.pathsep.join(filter(None, [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]))
    own = {"PYTHONPATH": packages, "PYTHONUNBUFFERED": "1", PARENT_VARIABLE: str(os.getpid())}
    return {**os.environ, **past, **own}


def _running(folder: Path) -> bool:
    with (folder / _LOCK).open("ab") as lock:
        return not _locked(lock)


def _locked(lock: IO[bytes]) -> bool:
    """Whether this process now holds the lock of a node, until the file is closed."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _require_node(folder: Path) -> None:
    if not (folder / "etc" / "config.ini").is_file():
        raise FederationError(
            found=Message("The folder {name} is no node.", name=folder.name),
            needed=Message("A folder that “fedpet train node create” made."),
            advice=Message("Create the node first."),
        )
