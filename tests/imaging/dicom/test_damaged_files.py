from __future__ import annotations

import logging
import resource
import subprocess
import sys
import tempfile

import pytest

CASES = 240


@pytest.fixture(scope="module")
def fuzzer(dicom, dicom_fuzz):
    return dicom_fuzz.Fuzzer(dicom)


@pytest.fixture
def scratch(tmp_path, monkeypatch):
    """Where temporary files go: nothing may stay there."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.mark.timeout(60)  # a case takes milliseconds
@pytest.mark.filterwarnings("ignore")  # of pydicom, about the damage
@pytest.mark.parametrize("group", range(10))
def test_damaged_studies_are_refused_or_load_but_never_crash(tmp_path, scratch, fuzzer, dicom_fuzz, caplog, group):
    """No other exception, no hang, nothing left or written elsewhere, no identity in what is said or logged."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    ends = set()
    for seed in range(group, CASES, 10):
        folder = tmp_path / str(seed)
        folder.mkdir()
        source, label = fuzzer.write(seed, folder)
        there = sorted(folder.rglob("*"))
        with caplog.at_level(logging.DEBUG):
            try:
                ends.add(dicom_fuzz.outcome(source))
            except Exception as fault:
                raise AssertionError(f"case {seed} ({label}): {fault!r}") from fault
        assert not list(scratch.iterdir()), label
        assert sorted(folder.rglob("*")) == there, label
    assert len(list(tmp_path.iterdir())) == CASES / 10 + 1
    assert "loaded" in ends  # damage that only ever hits the first check would show little
    assert len(ends) >= 3
    assert not [part for part in dicom_fuzz.IDENTITY if part in caplog.text]
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak < 500 * 1024  # KB


def test_the_same_number_makes_the_same_damage(tmp_path, fuzzer):
    contents = []
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        fuzzer.write(17, tmp_path / name)
        files = sorted(path for path in (tmp_path / name).rglob("*") if path.is_file())
        contents.append([path.read_bytes() for path in files])
    assert contents[0] == contents[1]


@pytest.mark.parametrize("seed", [25, 61])
def test_the_command_says_what_is_wrong_and_exits_with_3(tmp_path, fuzzer, monkeypatch, seed):
    monkeypatch.setenv("FEDPET_HOME", str(tmp_path / "home"))
    source, label = fuzzer.write(seed, tmp_path)
    command = [sys.executable, "-c", "from app.cli.main import main; main()", "inspect", str(source), "--json"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert run.returncode in (0, 3), label
    assert "Traceback" not in run.stderr
    assert ('"refused"' in run.stdout) == (run.returncode == 3)
