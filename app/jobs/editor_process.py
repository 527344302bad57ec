"""The process that measures a case's lesions anew while a reader corrects them, `python -m app.jobs.editor_process`.

It reads the images once and then answers requests, one line of JSON each, until its input ends. The answer is that of
the computation (`app.cases.pipeline.answer`), on the same images: only what does not change with the lesions is kept.
"""

from __future__ import annotations

import json
import sys
from base64 import b64encode
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from app.cases.model_choice import bundle_for
from app.cases.options import CaseOptions
from app.cases.pipeline import analyse, answer, read_study
from app.cases.result_json import plain
from app.cases.store import Store
from app.jobs.case_process import joined_record, source_of
from app.jobs.reporting import full_disk_told, limit_memory
from app.viewer.volumes import label_runs, store_labels
from fedpet.core.errors import FedpetError
from fedpet.core.logs import discreet_logs
from fedpet.core.scratch import scratch_folder
from fedpet.core.settings import Settings
from fedpet.imaging.lesions.interactive import grow_focus
from inference.engine import Engine

if TYPE_CHECKING:
    from pathlib import Path

    from app.cases.tables import Case
    from inference.bundle.storage import Bundle
    from inference.prediction import Prediction
    from inference.record_concordance import JoinedRecord


@dataclass(frozen=True, eq=False)
class EditorSession:
    """A case whose images have been read, and the model that answers it."""

    joined: JoinedRecord
    bundle: Bundle
    engine: Engine
    settings: Settings
    folder: Path

    @classmethod
    def open(cls, store: Store, case: Case, settings: Settings) -> EditorSession:
        """Read the images of a case.

        Raises:
            FedpetError: they, the record or the model cannot be used.
        """
        options, bundle = CaseOptions.from_json(case.options), bundle_for(case, settings)
        analysis = analyse(read_study(source_of(store, case.id), settings, options=options), options, settings)
        joined = joined_record(analysis, case, options, settings)
        engine = Engine.of(bundle, settings)
        session = cls(joined, bundle, engine, settings, store.folder(case.id))
        session.predict(options)  # what is computed when it is first needed is then there
        return session

    def respond(self, request: dict[str, Any]) -> dict[str, Any]:
        """The answer to a request: `{"grow": {"point", "threshold"}}`, `{"options": ...}` or `{"warm": true}`."""
        if "warm" in request:  # the images have been read
            return {}
        if "grow" in request:
            return self.preview(request["grow"])
        options = CaseOptions.from_json(request["options"])
        return self.measure(options)

    def preview(self, asked: dict[str, Any]) -> dict[str, Any]:
        """The focus under a point, as runs on the grid of the viewer, before a reader takes it."""
        pet = self.joined.analysis.study.pet
        x, y, z = asked["point"]
        focus = grow_focus(pet, (x, y, z), asked.get("threshold"))
        mask: np.ndarray[Any, np.dtype[np.uint16]] = np.zeros(pet.shape, np.uint16)
        mask[focus.box] = focus.inside
        runs = label_runs(pet.like(mask, "label"))
        return {
            "runs": b64encode(runs.tobytes()).decode(),
            "threshold": focus.threshold,
            "lowest": focus.lowest,
            "highest": focus.highest,
            "suv_max": focus.suv_max,
            "volume_ml": focus.volume_ml,
            "hottest": focus.hottest_mm,
        }

    def measure(self, options: CaseOptions) -> dict[str, Any]:
        """Prediction and healthy organs as the reader has them, as plain data; labels are written for the viewer."""
        prediction = self.predict(options)
        store_labels(prediction, self.folder)
        analysis = self.joined.analysis.with_liver(options.liver)
        references = analysis.references_beside(prediction.lesion_labels)
        return {"prediction": plain(prediction), "references": plain(references)}

    def predict(self, options: CaseOptions) -> Prediction:
        """The prediction with the reader's lesions; nothing is written."""
        joined = self.joined
        return answer(joined.analysis, joined.record, self.bundle, self.settings, options=options, engine=self.engine)


def _main() -> None:
    task = json.loads(sys.stdin.readline())
    settings = Settings(**task["settings"])
    discreet_logs()
    limit_memory(settings)
    with full_disk_told(), scratch_folder(settings.folder):
        store = Store.open(settings)
        session: EditorSession | None = None
        for line in sys.stdin:
            try:
                if session is None:
                    session = EditorSession.open(store, store.require(task["case"]), settings)
                said = session.respond(json.loads(line))
            except FedpetError as error:
                said = {"refused": [sentence.to_json() for sentence in error.sentences]}
            sys.stdout.write(json.dumps(said) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    _main()
