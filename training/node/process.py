"""A node's process: Fed-BioMed's node, which ends with the process that started it.

`python -m training.node.process --config FOLDER --node-args JSON`, the arguments of Fed-BioMed's own module, whose
command leaves the node running when it is killed; a second node on the same folder then breaks the federation.
"""

from __future__ import annotations

import os
import runpy

from training.data.process_pool import end_with

_NODE = "fedbiomed.node.node_pm"
PARENT_VARIABLE = "FEDPET_PARENT"  # process id of the process that started this one


def end_with_parent() -> None:
    """End this process when the one in `PARENT_VARIABLE` ends (`training.data.process_pool.end_with`)."""
    parent = os.environ.get(PARENT_VARIABLE)
    if parent is not None:
        end_with(int(parent))


if __name__ == "__main__":
    end_with_parent()
    from training.node.fedbiomed_node import watch_requests  # takes seconds, after the parent is watched

    watch_requests()
    runpy.run_module(_NODE, run_name="__main__", alter_sys=True)
