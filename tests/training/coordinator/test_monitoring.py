"""What those who watch a training see: the screen, the journal, TensorBoard."""

from __future__ import annotations

import io

import pytest

from training.task.runs import BASELINE, MODEL, Run
from training.task.statistics import STATISTICS
from training.task.task import TrainingTask


@pytest.mark.parametrize("language", ["fr", "en"])
def test_the_screen_names_sites_and_troubles(language):
    from rich.console import Console

    from app.cli.train.progress import TrainingProgressView
    from fedpet.core.messages import Message

    screen = TrainingProgressView(language)
    screen.event({"event": "waiting", "certificate": "ab" * 32})
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(screen)
    assert "ab" * 32 in console.export_text()
    screen.event({"event": "ready", "sites": ["nice", "dijon"]})
    screen.event({"event": "repeated", "run": MODEL, "round": 1, "reasons": {"dijon": "no answer"}})
    told = {"patients": {"nice": 21}, "validation": {"nice": {"loss": 1.25}}, "seconds": 5.0, "concordance": None}
    screen.event({"event": "round", "run": MODEL, "round": 1, **told})
    screen.progress(0.2, Message("Waiting for the sites"))
    console.print(screen)
    shown = console.export_text()
    assert all(word in shown for word in ("nice", "dijon", "no answer", "1.250", "21"))


def _validated(loss, patients):
    """A site's validation, with a standard deviation of 1 between its patients."""
    return {"loss": loss, "loss_square": loss**2 + 1.0, "n": patients}


def test_the_last_screen_shows_the_final_validation_of_the_model():
    """Not the losses of the clinical baseline and of the statistics, which are trained after it."""
    from rich.console import Console

    from app.cli.train.progress import TrainingProgressView

    screen = TrainingProgressView("en")
    screen.event({"event": "ready", "sites": ["nice", "lyon"]})
    for run, loss in ((MODEL, 1.25), (BASELINE, 7.5), (STATISTICS, 9.5)):
        values = {"nice": _validated(loss, 5.0), "lyon": _validated(loss, 15.0)}
        patients = {"nice": 20, "lyon": 60}
        screen.event(
            {"event": "round", "run": run, "round": 1, "seconds": 5.0, "patients": patients, "validation": values}
            | {"concordance": loss / 10}
        )
        final = {"nice": _validated(loss - 0.25, 5.0), "lyon": _validated(loss - 0.05, 15.0)}
        screen.event({"event": "validated", "run": run, "validation": final, "concordance": 0.7 + loss / 1000})
    console = Console(width=140, record=True, file=io.StringIO())
    console.print(screen)
    shown = console.export_text()
    assert "Final validation: 20 patients of 2 sites, loss 1.150 ± 0.224, concordance 0.701" in shown
    assert "1.000" in shown
    assert not any(word in shown for word in ("7.", "9."))


def test_without_a_terminal_every_step_is_a_line_at_once(capsys):
    """As under systemd, or where the output goes to a file."""
    from app.cli.train.progress import screen
    from fedpet.core.messages import Message

    with screen("en") as (progress, event):
        event({"event": "waiting", "certificate": "ab" * 32})
        assert "ab" * 32 in capsys.readouterr().err
        event({"event": "ready", "sites": ["lyon", "nice"]})
        assert "Sites: lyon, nice" in capsys.readouterr().err
        values = {"nice": _validated(1.25, 5.0) | {"vetoes": 1.0}}
        round_ = {"run": MODEL, "round": 1, "seconds": 5.0, "patients": {"nice": 21}, "validation": values}
        event({"event": "round", **round_, "concordance": 0.6})
        said = capsys.readouterr().err
        assert "nice: 21 patients, validation loss 1.250" in said
        assert "1 sites did not take the model" in said
        for _ in range(3):
            progress(0.5, Message("Waiting for the sites"))
        assert capsys.readouterr().err.count("50 %  Waiting for the sites") == 1
        event({"event": "validated", "run": MODEL, "validation": values, "concordance": 0.7})
        assert "Final validation: 5 patients of 1 sites, loss 1.250" in capsys.readouterr().err


def test_watch_writes_journal_and_tensorboard(training_nodes, tmp_path):
    from fedpet.core.journal import Journal, read_run
    from training.coordinator.monitoring import TrainingMonitor

    runs = {MODEL: Run(TrainingTask(contract=training_nodes.small_contract(), rounds=2), 1)}
    told = []
    journal = Journal(tmp_path / "run")
    journal.write("started", name="m", version="1", sites=["a"], rounds={MODEL: 2})
    with TrainingMonitor(
        runs, lambda done, words: told.append((done, str(words))), journal=journal, tensorboard=tmp_path / "tb"
    ) as watch:
        watch({"event": "ready", "sites": ["a"], "facts": {"a": {"patients": 5}}})
        watch({"event": "repeated", "run": MODEL, "round": 1, "reasons": {"a": "no answer"}})
        for number in (1, 2):
            watch(
                {
                    "event": "round",
                    "run": MODEL,
                    "round": number,
                    "seconds": 1.0,
                    "patients": {"a": 4},
                    "validation": {"a": {"loss": 1.0, "n": 1.0}},
                    "concordance": float("nan"),
                }
            )
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert any("a (no answer)" in words for _, words in told)
    assert len(read_run(tmp_path / "run").rounds[MODEL]) == 2
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path / "tb"))
    events.Reload()
    assert [one.step for one in events.Scalars(f"{MODEL}/loss/a")] == [1, 2]
