"""The table of sub-commands: quick to start, complete in the help."""

import subprocess
import sys
from typing import Annotated

import pytest
import typer
from typer.main import get_command
from typer.testing import CliRunner

from app.cli.main import _COMMANDS, main
from app.cli.options import HeaderOptions, LesionOptions, case_options, expand_options
from fedpet import __version__
from fedpet.imaging.suv.overrides import OverrideError
from tests.support import ROOT

HEAVY = {"SimpleITK", "numpy", "onnxruntime", "pydicom", "reportlab", "rich", "scipy", "torch"}


@pytest.mark.parametrize("words", [["--version"], ["--help"]])
def test_version_and_help_load_no_library_of_computation(words):
    code = (
        "import sys\nfrom app.cli.main import main\n"
        f"try:\n    main({words})\nexcept SystemExit:\n    pass\n"
        f"sys.stderr.write(' '.join(sorted({HEAVY - {'rich'}!r} & set(sys.modules))))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stderr == ""
    wanted = [f"fedpet {__version__}"] if words == ["--version"] else [f" {name} " for name in _COMMANDS]
    assert all(one in done.stdout for one in wanted)


@pytest.mark.parametrize("name", _COMMANDS)
def test_every_command_is_found_and_described_by_its_own_words(name):
    done = CliRunner().invoke(main, [name, "--help"], prog_name="fedpet")
    assert done.exit_code == 0
    assert f"Usage: fedpet {name}" in done.output
    assert get_command(main).commands[name].help.partition("\n")[0] == _COMMANDS[name][1]


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("fedpet ", set(_COMMANDS)),
        ("fedpet mo", {"model", "monitor"}),
        ("fedpet model e", {"evaluated", "export-triton"}),
        ("fedpet predict --lang ", {"fr", "en"}),
        ("fedpet predict --explain-m", {"--explain-method"}),
        ("fedpet nothing", set()),
    ],
)
def test_the_shell_completes(typed, offered):
    """By the protocol of bash: the words, the number of the one that is typed, a line for each that fits."""
    number = str(len(typed.split()) - (not typed.endswith(" ")))
    asked = {"_FEDPET_COMPLETE": "complete_bash", "COMP_WORDS": typed, "COMP_CWORD": number}
    assert set(CliRunner().invoke(main, prog_name="fedpet", env=asked).stdout.split()) == offered


def test_a_mistyped_command_gets_a_suggestion():
    done = CliRunner().invoke(main, ["quantfy"])
    assert done.exit_code == 2
    assert "quantify" in done.output


def test_shared_options_stand_in_the_place_of_their_group():
    seen = []

    @expand_options
    def measure(
        first: int = 1,
        *,
        lesions: LesionOptions,
        json: Annotated[bool, typer.Option("--json")] = False,
        headers: HeaderOptions,
    ) -> None:
        seen.append((first, json, case_options(headers, lesions, "percist")))

    app = typer.Typer()
    app.command()(measure)
    chosen = ["--include", "4", "--include", "2", "--roi", "GTV", "--json"]
    corrected = ["--weight", "77", "--reason", "scales", "--ct-series", "3"]
    assert CliRunner().invoke(app, [*chosen, *corrected]).exit_code == 0
    ((first, json, options),) = seen
    assert (first, json, options.include, options.rois) == (1, True, (4, 2), ("GTV",))
    assert (options.method, options.pet_series, options.ct_series) == ("percist", None, 3)
    assert [(one.name, one.value, one.reason) for one in options.corrections] == [("weight_kg", 77.0, "scales")]


def test_a_correction_without_reason_is_refused():
    with pytest.raises(OverrideError):
        HeaderOptions(weight="77").corrections()
