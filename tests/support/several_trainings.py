"""A coordinating centre with several configurations, as a program: to start one for each costs seconds.

The configuration is that of `training.coordinator.researcher` with one more entry, `each`: a list of the entries that
differ.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from training.coordinator import researcher
from training.coordinator.sites import RunConfig
from training.node.process import end_with_parent
from training.node.training_plan import FedPetPlan

if __name__ == "__main__":
    end_with_parent()
    config = json.loads(Path(sys.argv[1]).read_text())
    for changes in config.pop("each"):
        researcher._run(RunConfig(**{**config, **changes}), FedPetPlan)
