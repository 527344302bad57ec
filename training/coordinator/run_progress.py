"""What a breakpoint of Fed-BioMed does not contain, as a file beside it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from pathlib import Path


@dataclass
class RunProgress:
    """How far a run is.

    Attributes:
        rounds: that are over.
        final: validation of the model that is exported, by site or of all sites.
        best: number of rounds behind the model of the smallest loss so far, and its validation.
        exported: number of rounds behind the exported model.
        asked: training requests to each site.
        by_site: of an evaluation, the tables that are shown of single sites.
        patients: of an evaluation, by site.
        breakpoint: folder.
        newton: state of an exact fit (`training.task.newton_fit.NewtonState`); empty for other methods.
    """

    rounds: list[dict[str, Any]] = field(default_factory=list)
    final: dict[str, dict[str, float]] = field(default_factory=dict)
    best: dict[str, Any] = field(default_factory=dict)
    exported: int | None = None
    asked: dict[str, int] = field(default_factory=dict)
    by_site: dict[str, dict[str, float]] = field(default_factory=dict)
    patients: dict[str, int] = field(default_factory=dict)
    breakpoint: str = ""
    newton: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> Self:
        """That of a file; a new one where there is none."""
        return cls(**json.loads(path.read_text(encoding="utf-8"))) if path.exists() else cls()

    def write(self, path: Path) -> None:
        """Write it, whole or not at all."""
        waiting = path.with_suffix(".new")
        waiting.write_text(json.dumps(asdict(self)), encoding="utf-8")
        waiting.replace(path)
