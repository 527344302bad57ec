"""`make bench` runs every script, and its page says what was measured."""

import tomllib

import pytest

from benchmarks.figures import Comparison
from benchmarks.run import Benchmark, machine, measure, page, read_manifest
from tests.support import ROOT


def test_every_script_is_run_and_every_name_of_the_manifest_is_a_script():
    manifest = tomllib.loads((ROOT / "benchmarks" / "manifest.toml").read_text())
    scripts = {path.stem for path in (ROOT / "benchmarks").glob("*.py")} - {"__init__"}
    assert {*manifest["benchmarks"], *manifest["not_measured"]} <= scripts
    quick, everything = (read_manifest(everything=everything)[0] for everything in (False, True))
    assert sorted(one.name for one in everything) == sorted(scripts - set(manifest["not_measured"]))
    assert all(one.arguments is not None for one in everything)
    assert [one.name for one in quick] == [one.name for one in everything]


def test_a_comparison_takes_medians_of_five_runs_and_ratios_to_its_reference():
    runs = {"ours": [1.0, 9.0, 2.0, 3.0, 4.0], "theirs": [6.0] * 5}
    compared = Comparison("reading", "CPU s", "theirs", runs, {"absent": "not installed"})
    assert (compared.median("ours"), compared.ratio("ours")) == (3.0, 0.5)
    assert "| ours | 3 | 1 to 9 | 5 | 0.50 |" in compared.markdown()
    assert "| absent | not measured: not installed |" in compared.markdown()
    for wrong in ({"theirs": [6.0] * 4}, {"ours": [1.0] * 5}):
        with pytest.raises(ValueError, match="5 runs"):
            Comparison("reading", "CPU s", "theirs", wrong)


def test_the_page_names_what_failed_and_what_was_left_out():
    entry = {"command": "python -m benchmarks.x", "date": "2026-12-01", "commit": "abc", "machine": machine()}
    ran = {**entry, "seconds": 3, "load_before": 0.1, "output": "figures"}
    absent = measure(Benchmark("x", (), ("/nowhere",)), {})
    assert measure(Benchmark("start_up", ()), {}, 0)["left_out"] == "had no time left"
    assert "longer than the 0 s" in measure(Benchmark("start_up", ()), {}, 0.01)["left_out"]
    entries = {"good": {**ran, "exit": 0, "comparisons": []}, "bad": {**ran, "exit": 1, "comparisons": []}, "x": absent}
    text = page(entries)
    assert text.count("**Failed**") == 1
    assert "it needs /nowhere" in text
    assert str(ROOT) not in text
