"""How a node's data is registered: tags and the name of the node."""

from __future__ import annotations

import re

TAGS = ["fedpet", "train"]
EVALUATION_TAGS = ["fedpet", "evaluate"]  # of data on which models are evaluated and none is trained


def node_name(site: str) -> str:
    """The site's name, fit for a file name."""
    return re.sub(r"[^A-Za-z0-9_-]", "_", site)
