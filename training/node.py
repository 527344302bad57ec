"""What a hospital's data manager does with a node: create it, offer data, start it, read and approve training plans."""

from __future__ import annotations

import json
import os
import ssl
import subprocess
import time
from dataclasses import dataclass
from hashlib import sha256
from importlib.metadata import distribution
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fedpet
from fedpet.errors import FederationError, NodeDataRefused
from fedpet.messages import Message
from inference.contract import default_contract
from training import internals_node as internals
from training.budget import DELTA, Ledger, Limit
from training.federation import TAGS, node_name
from training.node_data import read_node, split
from training.task import code_digest, facts

if TYPE_CHECKING:
    from collections.abc import Callable

    from inference.contract import Contract
    from training.node_data import NodeData

_PIN = "researcher.sha256"  # in the node's folder: the certificate of the researcher
_CHECK_SECONDS = 5.0


@dataclass(frozen=True)
class Plan:
    """A training plan as a node knows it.

    Attributes:
        status: Approved, Pending or Rejected.
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
    force_masks: bool = True,
    limit: Limit | None = None,
) -> None:
    """Make a node's folder.

    Args:
        folder: new or empty.
        name: of the site.
        researcher: host:port.
        fingerprint: SHA-256 of the researcher's certificate, as the researcher tells it by another way; without it the
            first certificate that is seen is remembered.
        force_masks: refuse training without secure aggregation.
        limit: of epsilon, for all training on the node's patients together; None for none.

    Raises:
        FederationError: the folder is not empty, the address is not host:port, or the limit is none.
    """
    if folder.exists() and any(folder.iterdir()):
        raise FederationError(
            found=Message("The folder {name} is not empty.", name=folder.name),
            needed=Message("A new or an empty folder."),
            advice=Message("Give another folder; nothing is overwritten."),
        )
    host, _, port = researcher.rpartition(":")
    if not host or not port.isdigit():
        raise FederationError(
            found=Message("The address “{address}”.", address=researcher),
            needed=Message("The researcher's address as host:port, the host as in the researcher's certificate."),
            advice=Message("Ask the coordinating centre for it, for example 10.220.0.2:50051."),
        )
    internals.create(folder, name, host, int(port), force_masks=force_masks)
    if limit is not None:
        Ledger(folder).set_limit(limit)
    if fingerprint:
        (folder / _PIN).write_text(fingerprint.replace(":", "").lower(), encoding="ascii")


def register(folder: Path, data: Path, *, contract: Contract | None = None, minimum: int = 10) -> NodeData:
    """Check node data in full and offer it to the researcher.

    Raises:
        NodeDataRefused: a file is damaged, another contract prepared it, or there are too few patients.
        FederationError: the folder is no node.
    """
    _require_node(folder)
    contract = contract or default_contract()
    node = read_node(data, contract)
    training, _ = split(node.case_ids)
    if len(training) < minimum:
        raise NodeDataRefused(
            found=Message("A node has {count} patients to train on.", count=len(training)),
            needed=Message("At least {count}.", count=minimum),
            advice=Message("Leave this node out, or give it more patients."),
        )
    for case in node.cases:
        case.require_finite()
    internals.register_data(folder, data.resolve(), node_name(node.site), TAGS, facts(node, contract))
    return node


def set_budget(folder: Path, epsilon: float, delta: float = DELTA) -> dict[str, Any]:
    """Put another limit of epsilon in force; what it leaves, as in `status`.

    Raises:
        FederationError: the folder is no node, the limit is none, or the ledger is damaged.
    """
    _require_node(folder)
    Ledger(folder).set_limit(Limit(epsilon, delta))
    return _budget(folder)


def _budget(folder: Path) -> dict[str, Any]:
    account = Ledger(folder).read()
    spent = account.epsilon()
    return {
        "epsilon_limit": None if account.limit is None else account.limit.epsilon,
        "epsilon_spent": spent if isfinite(spent) else None,
        "delta": DELTA if account.limit is None else account.limit.delta,
        "trainings": len(account.trainings),
        "trainings_without_noise": sum(one.noise is None for one in account.trainings),
    }


def plans(folder: Path) -> list[Plan]:
    """Every plan that was registered here or asked for by a researcher."""
    _require_node(folder)
    ours = internals.plan_hash(folder, internals.installed_plan())
    return [
        Plan(
            one["training_plan_id"],
            one["hash"],
            one["training_plan_status"],
            one["hash"] == ours,
            one["training_plan"],
        )
        for one in internals.plans(folder)
    ]


def installed() -> dict[str, str]:
    """What the reviewer of a plan compares with the coordinating centre: version, sources and, if known, the wheel."""
    origin = json.loads(distribution("fedpet").read_text("direct_url.json") or "{}")
    wheel = origin.get("archive_info", {}).get("hashes", {}).get("sha256", "")
    return {"fedpet": fedpet.__version__, "sources_sha256": code_digest(), "wheel_sha256": wheel or "—"}


def approve(folder: Path, beginning: str | None = None) -> Plan:
    """Approve a plan by the beginning of its hash; without one, the plan of the fedpet installed here.

    Raises:
        FederationError: no plan, or more than one, has that hash.
    """
    known = plans(folder)
    fits = [plan for plan in known if (plan.hash.startswith(beginning) if beginning else plan.ours)]
    if not fits and beginning is None:
        internals.approve_installed(folder)
        return next(plan for plan in plans(folder) if plan.ours)
    if len(fits) != 1:
        raise FederationError(
            found=Message("{count} plans have a hash that begins so.", count=len(fits)),
            needed=Message("Exactly one."),
            advice=Message("Take the hash from “fedpet train node plans”."),
        )
    if fits[0].status != "Approved":
        internals.approve(folder, fits[0].id)
    return next(plan for plan in plans(folder) if plan.id == fits[0].id)


def status(folder: Path) -> dict[str, Any]:
    """What a node is, offers and allows; nothing about a patient."""
    _require_node(folder)
    known = internals.settings(folder)
    pin = folder / _PIN
    return {
        **known,
        "researcher": f"{known.pop('host')}:{known.pop('port')}",
        "certificate_sha256": pin.read_text(encoding="ascii") if pin.is_file() else "—",
        "data": [json.loads(one["description"]) | {"site": one["name"]} for one in internals.offered(folder, TAGS)],
        "plans": [{"hash": plan.hash, "status": plan.status, "installed": plan.ours} for plan in plans(folder)],
        "privacy": _budget(folder),
        "running": _running(folder),
    }


def start(
    folder: Path,
    *,
    gpu: bool = False,
    gpu_number: int | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> None:
    """Run the node until it is interrupted, and end it if the researcher's certificate is not the remembered one.

    Raises:
        FederationError: no data, another certificate, or the node ended by itself.
    """
    _require_node(folder)
    known = internals.settings(folder)
    if not internals.offered(folder, TAGS):
        raise FederationError(
            found=Message("The node offers no data."),
            needed=Message("Registered node data."),
            advice=Message("Run “fedpet train node register” first."),
        )
    with (folder / "node.log").open("ab") as log:
        process = subprocess.Popen(  # noqa: S603  our own interpreter and folder
            internals.start_command(folder.resolve(), gpu=gpu, gpu_number=gpu_number),
            env=_environment(known["host"]),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    (folder / "node.pid").write_text(str(process.pid), encoding="ascii")
    try:
        while process.poll() is None:
            if certificate := _certificate(known["host"], int(known["port"])):
                _require_pinned(folder, certificate, tell)
            time.sleep(_CHECK_SECONDS)
    finally:
        process.kill()
        process.wait()
        (folder / "node.pid").unlink()
    raise FederationError(
        found=Message("The node ended by itself."),
        needed=Message("A node that runs until it is interrupted."),
        advice=Message("Read node.log in the node's folder."),
    )


def _require_pinned(folder: Path, certificate: str, tell: Callable[[str], None]) -> None:
    pin = folder / _PIN
    if not pin.is_file():
        pin.write_text(certificate, encoding="ascii")
        tell(certificate)
    elif pin.read_text(encoding="ascii") != certificate:
        raise FederationError(
            found=Message("The researcher shows another certificate: {start}…", start=certificate[:16]),
            needed=Message("The remembered one: {start}…", start=pin.read_text(encoding="ascii")[:16]),
            advice=Message("Ask the coordinating centre; if it is theirs, put it into {file}.", file=_PIN),
        )


def _certificate(host: str, port: int) -> str | None:
    """SHA-256 of the certificate that the researcher shows; None while nobody answers there."""
    try:
        shown = ssl.get_server_certificate((host, port), timeout=_CHECK_SECONDS)
    except OSError:
        return None
    return sha256(ssl.PEM_cert_to_DER_cert(shown)).hexdigest()


def _environment(host: str) -> dict[str, str]:
    """The process's own, with the researcher reached past any proxy: gRPC obeys http_proxy, and proxies break it."""
    past = {name: f"{os.environ.get(name, '')},{host}".strip(",") for name in ("no_proxy", "NO_PROXY")}
    rooms = os.pathsep.join(filter(None, [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]))
    return {**os.environ, **past, "PYTHONPATH": rooms, "PYTHONUNBUFFERED": "1"}


def _running(folder: Path) -> bool:
    try:
        os.kill(int((folder / "node.pid").read_text(encoding="ascii")), 0)
    except (OSError, ValueError):
        return False
    return True


def _require_node(folder: Path) -> None:
    if not (folder / "etc" / "config.ini").is_file():
        raise FederationError(
            found=Message("The folder {name} is no node.", name=folder.name),
            needed=Message("A folder that “fedpet train node create” made."),
            advice=Message("Create the node first."),
        )
