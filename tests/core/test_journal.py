"""The journal of a training, written and read at once."""

from __future__ import annotations

import json

import pytest

from fedpet.core.errors import FederationError
from fedpet.core.journal import NAME, Journal, read_run, read_runs
from fedpet.core.messages import Message

PATIENTS = {"nice": 30, "lyon": 10}
VALIDATION = {"nice": {"loss": 2.0, "n": 6.0, "concept_loss": 0.5}, "lyon": {"loss": 1.0, "n": 2.0}}


def _begin(journal):
    journal.write("started", name="m", version="1", sites=["lyon", "nice"], rounds={"model": 2, "clinical": 1})


def _round(journal, number, run="model", concordance=0.6):
    journal.write(
        "round", run=run, round=number, seconds=4.0, patients=PATIENTS, validation=VALIDATION, concordance=concordance
    )


def test_a_run_is_read_while_it_goes_on(tmp_path):
    journal = Journal.new(tmp_path)
    assert read_run(journal.folder) is None
    _begin(journal)
    _round(journal, 1)
    with (journal.folder / NAME).open("a") as file:
        file.write('{"event": "round", "run": "mo')  # a line that is being written
    run = read_run(journal.folder)
    assert (run.state, run.sites, run.planned) == ("running", ("lyon", "nice"), {"model": 2, "clinical": 1})
    assert [one.number for one in run.rounds["model"]] == [1]
    assert run.rounds["clinical"] == ()


def test_metrics_are_pooled_by_validation_patients(tmp_path):
    journal = Journal.new(tmp_path)
    _begin(journal)
    _round(journal, 1)
    one = read_run(journal.folder).rounds["model"][0]
    assert one.pooled("loss") == pytest.approx((2.0 * 6 + 1.0 * 2) / 8)
    assert one.pooled("concept_loss") == 0.5  # only Nice has it
    assert one.pooled("patients") == 40
    assert one.pooled("unknown") is None
    assert (one.metric("lyon", "patients"), one.metric("lyon", "concept_loss")) == (10, None)


def test_what_is_no_number_stays_strict_json(tmp_path):
    journal = Journal.new(tmp_path)
    _begin(journal)
    _round(journal, 1, concordance=float("nan"))
    lines = (journal.folder / NAME).read_text().splitlines()
    assert json.loads(lines[-1], parse_constant=pytest.fail)["concordance"] is None


def test_the_end_is_told_and_so_is_what_stopped_it(tmp_path):
    with Journal.new(tmp_path) as journal:
        _begin(journal)
    error = FederationError(found=Message("A node ended."), needed=Message("All."), advice=Message("Look."))
    stopped, killed = Journal.new(tmp_path), Journal.new(tmp_path)
    for interrupted, raised in ((stopped, error), (killed, KeyboardInterrupt())):
        _begin(interrupted)
        with pytest.raises(type(raised)), interrupted:
            raise raised
    assert read_run(journal.folder).state == "done"
    assert (read_run(stopped.folder).state, str(read_run(stopped.folder).why)) == ("stopped", "A node ended.")
    assert str(read_run(killed.folder).why) == "The training was stopped."
    assert len(read_runs(tmp_path)) == 3
    assert read_runs(tmp_path / "nothing") == []
