"""Nodes of hospitals for tests, by the functions behind `fedpet train node`, in one process for all of them.

Fed-BioMed has one database connector a process, so that each node is made in a fork. As a program:
`python -m tests.support.hospital_nodes SPEC.json` with {"nodes": {site: {"path", "data"}}, "contract", "researcher",
"masked"}.
"""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path

from inference.input_contract import InputContract
from training.node import commands
from training.node.fedbiomed_node import run_in_children
from training.node.policy import NodePolicy, PeerRules


def make(site, node, spec):
    folder = Path(node["path"])
    policy = NodePolicy(peers=PeerRules(masked=spec["masked"]))
    commands.create(folder, site, spec["researcher"], policy=policy)
    commands.register(folder, Path(node["data"]), contract=InputContract.read(Path(spec["contract"])))
    commands.approve(folder)


def main(spec):
    run_in_children({site: partial(make, site, node, spec) for site, node in spec["nodes"].items()})


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text()))
