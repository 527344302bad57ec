"""What a round of the federation costs, by nodes, voxels and parameters, and what of it is not local training.

    python -m benchmarks.federation_scale [--quick] [--out FIGURES.json]

Real Fed-BioMed nodes on this machine train on noise of the right shape. All costs are CPU seconds of the processes, as
the operating system counts them, so that nodes that share cores add up as one after the other. "Local" is the same
reading, augmentation, steps and validation without Fed-BioMed, in as many processes at once as there are cores. What
remains is the overhead: starting the plan, moving parameters, masks, aggregation, history, breakpoints.

Measured on small volumes with few patients; the figures at the full size (1,150 patients, 8 sites) are the measured
local cost of a patient at that grid times the patients, and the measured overhead, plus what it grew by with volume.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from statistics import mean, median
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import psutil

from inference.input_contract import default_contract
from training.coordinator.processes import FederationProcesses
from training.data.node_data import TRUTH_COLUMN, NodeCase, PreparedCase, clear_cases, write_case, write_node
from training.task.registration import TAGS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from inference.input_contract import InputContract

_PATIENTS: Final = 12  # of a node; 10 train, 2 validate
_TRAINING, _VALIDATING = 10, 2
_DEFAULT_WIDTH: Final = 16
_SITES: Final = (310, 240, 180, 140, 110, 80, 55, 35)  # patients at the full size
_NODE_GIB: Final = 0.8
_LINK_BYTES: Final = 100e6 / 8  # a second, of a hospital's line
_GOAL: Final = 0.25
_LEGEND: Final = """
Seconds of wall: wall, first (round, with reading and the masks' secrets), aggregation (after the last reply).
CPU seconds of all nodes: the others. Without Fed-BioMed: data (augmentation), compute (forward, backward, step,
validation). With: steps (what the nodes say of their training), transfer (their rest but for validation: plan,
parameters, masks), researcher. overhead: all of the processes' CPU less data and compute.
"""
_RESEARCHER: Final = """
import sys
from pathlib import Path
from training.coordinator import researcher, training_run
emit = training_run.emit
TrainingRun = training_run.TrainingRun
record = TrainingRun._record_round
def timed(self, index, *args):
    replies = self.experiment.training_replies()[index]
    timing = {node: reply["timing"] for node, reply in replies.items()}
    training_run.emit = lambda event, **facts: emit(event, **facts, timing=timing)
    record(self, index, *args)
    training_run.emit = emit
TrainingRun._record_round = timed
researcher.main(Path(sys.argv[1]))
"""


@dataclass(frozen=True)
class Case:
    """One setting."""

    nodes: int
    spacing: float  # mm
    width: int = _DEFAULT_WIDTH
    secure: bool = False


@dataclass(frozen=True)
class Local:
    """CPU seconds without Fed-BioMed: reading once a patient, the others a training (or validation) patient."""

    reading: float
    augmentation: float
    forward: float
    backward: float
    step: float
    validation: float

    def round(self, training: float, validating: float) -> float:
        """One local epoch and the validation, with the patients in memory."""
        trained = self.augmentation + self.forward + self.backward + self.step
        return training * trained + validating * self.validation


@dataclass(frozen=True)
class Round:
    """Means over the rounds but the first; CPU seconds, of all nodes together, except `wall` and `lo`.

    Attributes:
        wall: seconds of a round.
        training: in the steps, as the nodes' replies say.
        around: of the nodes, outside of the steps.
        researcher: of the researcher's process.
        aggregation: wall seconds of the researcher after the last reply.
        first: wall seconds of the first round, which also reads the data and agrees on the masks' secrets.
        loopback: bytes on the loopback interface.
    """

    wall: float
    training: float
    around: float
    researcher: float
    aggregation: float
    first: float
    loopback: float

    @property
    def cpu(self) -> float:
        """Of all processes."""
        return self.training + self.around + self.researcher


def contract_at(spacing: float) -> InputContract:
    """The default contract's field of view on a grid of another spacing; axes are multiples of 8."""
    whole = default_contract()
    factor = whole.spacing_mm / spacing
    shape = [max(8, 8 * round(count * factor / 8)) for count in whole.shape]
    return replace(whole, shape=(shape[0], shape[1], shape[2]), spacing_mm=spacing)


def write_pool(folder: Path, contract: InputContract, patients: int) -> list[PreparedCase]:
    """Write cases of noise."""
    clear_cases(folder)
    generator = np.random.default_rng(0)
    prepared = []
    for number in range(patients):
        case = NodeCase(
            image=np.stack(
                [generator.gamma(2.0, 1.0, contract.shape), generator.normal(0.0, 300.0, contract.shape)]
            ).astype(np.float16),
            clinical=generator.normal(size=len(contract.inputs)).astype(np.float32),
            months=float(generator.exponential(10.0)),
            event=True,
            concepts=np.zeros((len(contract.concepts), *contract.shape), np.uint8),
            supervised=np.ones(len(contract.concepts), np.bool_),
        )
        name = f"{contract.spacing_mm:g}mm{number:03d}"
        write_case(folder, name, case)
        prepared.append(PreparedCase(name, case.months, case.event, delineated=True, vendor=""))
    return prepared


def offer(folder: Path, contract: InputContract, pool: Path, prepared: Sequence[PreparedCase]) -> None:
    """Make the folder of a site, named after it, show the pool, in place of what it showed before."""
    folder.mkdir(parents=True, exist_ok=True)
    cases = folder / "cases"
    cases.unlink(missing_ok=True)
    cases.symlink_to(pool / "cases")
    write_node(folder, prepared, contract, {one.case_id: {TRUTH_COLUMN: 0.5} for one in prepared})


def local_cost(folder: Path, case: Case, batch_size: int) -> Local:
    """Timed in this process, on one thread."""
    import torch  # noqa: PLC0415  the parent needs none
    from fedbiomed.common.dataloader import PytorchDataLoader  # noqa: PLC0415
    from fedbiomed.common.dataset_types import DataReturnFormat  # noqa: PLC0415
    from torch.utils.data import Subset  # noqa: PLC0415

    from training.node import steps  # noqa: PLC0415
    from training.task.task import TrainingTask  # noqa: PLC0415

    torch.set_num_threads(1)
    spent: dict[str, float] = defaultdict(float)
    task = TrainingTask(contract=contract_at(case.spacing), network_config={"width": case.width}, batch_size=batch_size)
    dataset = steps.NodeDataset()
    dataset.task = task
    with _timed(spent, "reading"):
        dataset.load(root=folder, to_format=DataReturnFormat.TORCH)
    whole = PytorchDataLoader(Subset(dataset, range(len(dataset))))
    network = task.build()
    for index in range(2):  # the first is to warm up
        spent = defaultdict(float, reading=spent["reading"])
        training, validation = steps.data_loaders(whole, dataset, index)
        optimizer = steps.optimizer(task, network, index)
        checked = steps.ValidationMetrics(task, len(dataset.validation))
        with _timed(spent, "validation"):
            for data, target in validation:
                checked.step(network, data, target)
        network.train()
        batches = iter(training)
        for _ in range(len(training)):
            with _timed(spent, "augmentation"):
                data, target = next(batches)
            optimizer.zero_grad()
            with _timed(spent, "forward"):
                loss = steps.training_loss(network, task, data, target)
            with _timed(spent, "backward"):
                torch.autograd.backward(loss)
            with _timed(spent, "step"):
                optimizer.step()
    trained, validated = len(dataset.training), len(dataset.validation)
    patients = {"reading": trained + validated, "validation": validated}
    return Local(**{part: seconds / patients.get(part, trained) for part, seconds in spent.items()})


class _timed:  # noqa: N801  reads as a word
    def __init__(self, spent: dict[str, float], part: str) -> None:
        self._spent, self._part = spent, part

    def __enter__(self) -> None:
        self._start = time.process_time()

    def __exit__(self, *_: object) -> None:
        self._spent[self._part] += time.process_time() - self._start


def parameters(width: int) -> int:
    """Of the network; runs in a child process, for the parent has no torch."""
    from training.task.task import TrainingTask  # noqa: PLC0415

    network = TrainingTask(contract=contract_at(24), network_config={"width": width}).build()
    return sum(parameter.numel() for parameter in network.parameters())


def task_args(case: Case, rounds: int) -> dict[str, str]:
    """What the nodes are asked for; runs in a child process."""
    from training.task.method import UNPROTECTED_METHOD, FederatedMethod  # noqa: PLC0415
    from training.task.task import TrainingTask  # noqa: PLC0415

    return TrainingTask(
        contract=contract_at(case.spacing),
        network_config={"width": case.width},
        rounds=rounds,
        learning_rate=1e-5,  # noise teaches nothing
        method=FederatedMethod() if case.secure else UNPROTECTED_METHOD,
    ).to_args()


def mean_local(measured: Iterable[Local]) -> Local:
    """Of processes that ran at once."""
    rows = [asdict(one) for one in measured]
    return Local(**{part: mean(row[part] for row in rows) for part in rows[0]})


class Meter:
    """CPU seconds of the nodes and of the researcher, children of this process, between its calls."""

    def __init__(self, nodes: int) -> None:
        self._names = [f"site{number:02d}" for number in range(nodes)]
        self._last = self._now()

    def __call__(self) -> SimpleNamespace:
        """Since the last call: wall and CPU seconds, bytes on the loopback interface."""
        now = self._now()
        passed = SimpleNamespace(**{key: value - getattr(self._last, key, 0.0) for key, value in vars(now).items()})
        self._last = now
        return passed

    def _now(self) -> SimpleNamespace:
        nodes = researcher = 0.0
        for process in psutil.Process().children():
            words = process.cmdline()
            times = process.cpu_times()
            if "timed_researcher" in words:
                researcher = times.user + times.system
            elif words and any(Path(word).name in self._names for word in words):
                nodes += times.user + times.system
        lo = psutil.net_io_counters(pernic=True)["lo"].bytes_sent
        return SimpleNamespace(wall=time.monotonic(), nodes=nodes, researcher=researcher, lo=lo)


def run_rounds(federation: FederationProcesses, cases: Mapping[str, Case], args: Mapping[str, Any]) -> dict[str, Round]:
    """Cases of the same nodes and grid, one after the other in one researcher."""
    count = next(iter(cases.values())).nodes
    meter = Meter(count)
    seen: dict[str, list[SimpleNamespace]] = defaultdict(list)

    def on_event(event: dict[str, Any]) -> None:
        if event["event"] in {"ready", "round"}:
            passed = meter()
        if event["event"] == "round":
            timing = event["timing"].values()
            passed.training = sum(one["ptime_training"] for one in timing)
            passed.aggregation = event["seconds"] - max(one["rtime_total"] for one in timing)
            passed.seconds = event["seconds"]
            seen[event["run"]].append(passed)

    federation.run_researcher(
        {
            "tags": TAGS,
            "sites": [f"site{number:02d}" for number in range(count)],
            "minimum": count,
            "args": args,
            "local_epochs": dict.fromkeys(cases, 1),
            "out": str(_fresh(federation.work / "out")),
            "round_seconds": 300.0,
        },
        on_event,
        module="timed_researcher",
    )
    return {name: _round(seen[name]) for name in cases}


def _fresh(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    for path in folder.iterdir():
        path.unlink()
    return folder


def _round(rounds: Sequence[SimpleNamespace]) -> Round:
    kept = rounds[1:-1] or rounds[1:]  # the last also validates once more
    return Round(
        wall=median(one.wall for one in kept),
        training=mean(one.training for one in kept),
        around=mean(one.nodes - one.training for one in kept),
        researcher=mean(one.researcher for one in kept),
        aggregation=median(one.aggregation for one in kept),
        first=rounds[0].seconds,
        loopback=mean(one.lo for one in kept),
    )


def plan(*, quick: bool) -> list[Case]:
    """Nodes, then parameters, then voxels; one researcher for each (nodes, grid)."""
    if quick:
        sizes, widths, spacings = (3, 5), (32,), (12.0,)
    else:
        free = psutil.virtual_memory().available / 2**30
        sizes = tuple(count for count in (3, 8, 16) if count * _NODE_GIB < free)
        widths, spacings = (8, 48), (16.0, 12.0, 8.0)
    cases = [Case(count, 24.0, secure=secure) for count in sizes for secure in (False, True)]
    cases += [Case(3, 24.0, width, secure) for width in widths for secure in (False, True)]
    return cases + [Case(3, spacing) for spacing in spacings]


def measure(work: Path, cases: Sequence[Case], rounds: int, full: Sequence[Case]) -> dict[str, Any]:
    """Every case's round and local cost, and the local cost at the full sizes."""
    spacings = {case.spacing for case in (*cases, *full)}
    pools = {one: (work / f"pool-{one:g}", contract_at(one)) for one in spacings}
    prepared = {one: write_pool(pool, contract, _PATIENTS if one > 6 else 5) for one, (pool, contract) in pools.items()}
    for one, (pool, contract) in pools.items():
        offer(work / f"local-{one:g}", contract, pool, prepared[one])
    cores = os.cpu_count() or 1
    local: dict[Case, Local] = {}
    with ProcessPoolExecutor(cores, mp_context=get_context("spawn")) as children:
        for case in dict.fromkeys(replace(case, nodes=1, secure=False) for case in (*cases, *full)):
            folder = work / f"local-{case.spacing:g}"
            asked = [children.submit(local_cost, folder, case, 4) for _ in range(cores if case.spacing > 6 else 1)]
            local[case] = mean_local(one.result() for one in asked)
        args = {case: children.submit(task_args, case, rounds) for case in cases}
        sizes = {width: children.submit(parameters, width) for width in {case.width for case in cases}}
        known = {case: one.result() for case, one in args.items()}
        counts = {width: one.result() for width, one in sizes.items()}
    sites = {f"site{number:02d}": work / "nodes" / f"{number:02d}" for number in range(max(one.nodes for one in cases))}
    groups: dict[tuple[int, float], list[Case]] = defaultdict(list)
    for case in cases:
        groups[case.nodes, case.spacing].append(case)
    found: dict[Case, Round] = {}
    for folder in sites.values():
        offer(folder, pools[24.0][1], pools[24.0][0], prepared[24.0])
    with FederationProcesses(sites, work / "federation") as federation:
        (federation.work / "timed_researcher.py").write_text(_RESEARCHER)
        for (count, spacing), members in groups.items():
            print(f"{count} nodes at {spacing:g} mm: {len(members)} settings", file=sys.stderr)
            for folder in sites.values():
                offer(folder, pools[spacing][1], pools[spacing][0], prepared[spacing])
            named = {f"run{number}": case for number, case in enumerate(members)}
            done = run_rounds(federation, named, {name: known[case] for name, case in named.items()})
            found |= {named[name]: one for name, one in done.items()}
    return {"rounds": found, "local": local, "parameters": counts}


def table(figures: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One row a case."""
    rows = []
    for case, one in figures["rounds"].items():
        local = figures["local"][replace(case, nodes=1, secure=False)]
        pure = case.nodes * local.round(_TRAINING, _VALIDATING)
        data = case.nodes * _TRAINING * local.augmentation
        rows.append(
            {
                **asdict(case),
                "voxels": int(np.prod(contract_at(case.spacing).shape)),
                "parameters": figures["parameters"][case.width],
                "data_cpu": data,
                "compute_cpu": pure - data,
                "transfer_cpu": one.around - case.nodes * _VALIDATING * local.validation,
                "overhead_cpu": one.cpu - pure,
                **asdict(one),
            }
        )
    return rows


def expected(
    figures: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], full: Sequence[Case]
) -> list[dict[str, Any]]:
    """A round at the full size: eight sites and all patients; see the module's docstring for what is extrapolated."""
    small = {(row["nodes"], row["spacing"], row["width"], row["secure"]): row for row in rows}
    nodes = max(row["nodes"] for row in rows if row["nodes"] <= len(_SITES))
    base = small[3, 24.0, _DEFAULT_WIDTH, False]
    patients, largest = sum(_SITES), max(_SITES)
    found = []
    for case in full:
        local = figures["local"][replace(case, nodes=1, secure=False)]
        pure = local.round(0.8 * patients, 0.2 * patients)
        nearest = small[3, min(row["spacing"] for row in rows), _DEFAULT_WIDTH, False]
        more = max(0.0, nearest["overhead_cpu"] - base["overhead_cpu"]) / (3 * _PATIENTS)  # a patient, for its volume
        more *= np.prod(contract_at(case.spacing).shape) / nearest["voxels"]
        for secure in (False, True):
            row = small[nodes, 24.0, _DEFAULT_WIDTH, secure]
            fixed = row["overhead_cpu"] * len(_SITES) / nodes
            alone = local.round(0.8 * largest, 0.2 * largest)
            traffic = row["loopback"] / nodes
            wait = small[3, 24.0, _DEFAULT_WIDTH, secure]["wall"] + traffic / _LINK_BYTES + more * largest
            found.append(
                {
                    "spacing": case.spacing,
                    "secure": secure,
                    "measured_nodes": nodes,
                    "local_cpu": pure,
                    "overhead_cpu": fixed + more * patients,
                    "overhead_cpu_by_volume": more * patients,
                    "overhead": (fixed + more * patients) / pure,
                    "largest_site_seconds": alone,
                    "separate_overhead_seconds": wait,
                    "separate_overhead": wait / alone,
                    "bytes_a_node": traffic,
                }
            )
    return found


def show(figures: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], full: Sequence[Mapping[str, Any]]) -> None:
    """The figures as text."""
    print(f"A round of {_TRAINING} training and {_VALIDATING} validating patients a node.\n")
    print(
        "nodes    mm parameters masks |  wall  first |  data compute |  steps transfer researcher aggregation |"
        " overhead a node | kB a node"
    )
    for row in rows:
        print(
            f"{row['nodes']:5d} {row['spacing']:5g} {row['parameters']:10,d} {'LOM' if row['secure'] else '-':>5} | "
            f"{row['wall']:5.2f} {row['first']:6.2f} | {row['data_cpu']:5.2f} {row['compute_cpu']:7.2f} | "
            f"{row['training']:6.2f} {row['transfer_cpu']:8.2f} {row['researcher']:10.2f} {row['aggregation']:11.2f} | "
            f"{row['overhead_cpu']:8.2f} {row['overhead_cpu'] / row['nodes']:6.2f} | "
            f"{row['loopback'] / row['nodes'] / 1e3:9.0f}"
        )
    print(_LEGEND)
    for secure in (False, True):
        chosen = [row for row in rows if (row["nodes"], row["spacing"], row["secure"]) == (3, 24.0, secure)]
        millions, each = [row["parameters"] / 1e6 for row in chosen], [row["overhead_cpu"] / 3 for row in chosen]
        slope, fixed = np.polyfit(millions, each, 1)
        print(f"3 nodes, {'LOM' if secure else 'clear'}: a node costs {fixed:.2f} + {slope:.2f} a million parameters.")
    for case, one in figures["local"].items():
        if case.width == _DEFAULT_WIDTH:
            print(
                f"{case.spacing:g} mm, CPU s a patient: read once {one.reading:.4f}, augment {one.augmentation:.4f}, "
                f"forward {one.forward:.4f}, backward {one.backward:.4f}, step {one.step:.4f}; "
                f"validate {one.validation:.4f}."
            )
    print(
        f"\nAt the full size: {sum(_SITES):,} patients over {len(_SITES)} sites, one local epoch (goal: {_GOAL:.0%}).\n"
    )
    for one in full:
        print(
            f"{one['spacing']:g} mm, {'LOM' if one['secure'] else 'clear'}: local {one['local_cpu']:.0f} CPU s "
            f"(measured a patient, times the patients); overhead {one['overhead_cpu']:.1f} CPU s (measured with "
            f"{one['measured_nodes']} nodes at 24 mm, plus {one['overhead_cpu_by_volume']:.1f} for the volumes): "
            f"{one['overhead']:.1%}. On machines of their own: the largest site trains "
            f"{one['largest_site_seconds']:.0f} s, "
            f"the rest of a round is {one['separate_overhead_seconds']:.1f} s: {one['separate_overhead']:.1%}."
        )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer nodes, grids and widths: under two minutes")
    parser.add_argument("--out", type=Path, help="JSON")
    options = parser.parse_args()
    cases = plan(quick=options.quick)
    full = [Case(8, 8.0)] if options.quick else [Case(8, 8.0), Case(8, 4.0)]
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as work:
        figures = measure(Path(work), cases, rounds=4 if options.quick else 5, full=full)
    rows = table(figures)
    at_full = expected(figures, rows, full)
    show(figures, rows, at_full)
    load = psutil.getloadavg()[2]
    print(f"\n{os.cpu_count()} cores, {time.monotonic() - start:.0f} s in all, load of the last 15 minutes {load:.1f}.")
    if options.out:
        local = [{**asdict(case), **asdict(one)} for case, one in figures["local"].items()]
        options.out.write_text(json.dumps({"rounds": rows, "local": local, "full_size": at_full}, indent=1) + "\n")


if __name__ == "__main__":
    main()
