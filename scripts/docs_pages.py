"""Pages of the documentation site that are made when it is built: the commands, the Python names, measured results.

A hook of MkDocs (`mkdocs.yml`). The commands come from their argument parsers, so that none can be missing.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

_Command = Any  # Typer's commands and parameters are of its private copy of Click
_Parameter = Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files

_TO_SOURCES = re.compile(
    r"\[([^\]]+)\]\((?:\.\./)+(?:app|benchmarks|deploy|explain|fedpet|inference|reports|scripts|tests|training)[^)]*\)"
)
_KINDS = ((Path, "path"), (str, "text"), (int, "number"), (float, "number"), (bool, "yes or no"))
_MODULES = {  # of the reference, with what they are for
    "fedpet.imaging.loading": "Read a study",
    "fedpet.imaging.study": "What a study is",
    "fedpet.imaging.volume": "Volumes",
    "fedpet.imaging.analysis": "What is computed from a study",
    "fedpet.imaging.quantification": "Quantities of lesions",
    "fedpet.imaging.lesions.masks": "Lesions that a reader drew",
    "fedpet.clinical.record": "The clinical record",
    "fedpet.clinical.reading": "Read a clinical record",
    "fedpet.clinical.scores": "Published scores",
    "inference.bundle.storage": "Models",
    "inference.predict": "Predict",
    "inference.prediction": "What a prediction is",
    "explain.attribution": "Explain",
    "explain.explanation": "What an explanation is",
    "reports.pdf.document": "Write a report",
    "fedpet.core.errors": "Errors",
    "fedpet.core.profile": "Where the time goes",
}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made here."""
    for place, text in (
        ("reference/commands.md", commands_page()),
        ("reference/python.md", python_page()),
        ("reference/results.md", results_page()),
        ("reference/decisions.md", decisions_page()),
    ):
        files.append(File.generated(config, place, content=text))
    return files


def on_page_markdown(markdown: str, **_: object) -> str:
    """Links into the repository become plain names: a reader of the site has the sources elsewhere."""
    return _TO_SOURCES.sub(r"\1", markdown)


def leaves(command: _Command, path: tuple[str, ...] = ("fedpet",)) -> Iterator[tuple[tuple[str, ...], _Command]]:
    """Every command that can be run, with its words; groups are opened."""
    inside = getattr(command, "commands", None)
    if inside is None:
        yield path, command
        return
    for name in inside:
        if not getattr(inside[name], "hidden", False):
            yield from leaves(inside[name], (*path, name))


def commands_page() -> str:
    """All commands with their arguments and options, in the order of the help."""
    from typer.main import get_command  # noqa: PLC0415  a hook is imported by every command of MkDocs

    from app.cli.main import main  # noqa: PLC0415  as above

    lines = [
        "# Commands",
        "",
        "Made from the argument parsers; `--help` shows the same. Exit code 3: the study is refused; 2: anything else",
        "that cannot be done. `--json` writes only JSON to standard output; messages go to standard error.",
        "",
    ]
    for words, command in leaves(get_command(main)):
        arguments = [one for one in command.params if not one.opts[0].startswith("-")]
        shown = " ".join(one.name.upper() if one.required else f"[{one.name.upper()}]" for one in arguments)
        lines += [f"## {' '.join(words)}", "", f"```\n{' '.join(words)} {shown}".rstrip() + " [OPTIONS]\n```", ""]
        lines += [_text(command.help or ""), ""]
        rows = [_row(one) for one in command.params if one.name != "help"]
        if rows:
            lines += ["| | value | default | meaning |", "|---|---|---|---|", *rows, ""]
    return "\n".join(lines)


def _row(parameter: _Parameter) -> str:
    names = [*parameter.opts, *parameter.secondary_opts]
    named = ", ".join(f"`{one}`" for one in names) if names[0].startswith("-") else f"`{parameter.name.upper()}`"
    flag = getattr(parameter, "is_flag", False)
    default = parameter.default
    if parameter.required:
        default = "**required**"
    elif default in (None, "", (), [], False):
        default = ""
    else:
        default = f"`{getattr(default, 'value', default)}`"
    value = "" if flag else _value(parameter.type_descriptor.annotation)
    return f"| {named} | {value} | {default} | {_text(parameter.help or '')} |"


def _value(annotation: object) -> str:
    """What kind of value: the choices, or the type in a word."""
    if get_origin(annotation) is Literal:
        return ", ".join(f"`{one}`" for one in get_args(annotation))
    inside = [one for one in get_args(annotation) if one is not type(None)]
    if inside:
        several = get_origin(annotation) in {list, tuple, set}
        return _value(inside[0]) + (", several" if several else "")
    return next((word for kind, word in _KINDS if annotation is kind), getattr(annotation, "__name__", str(annotation)))


def _text(words: str) -> str:
    return " ".join(words.split()).replace("|", "\\|").replace("<", "&lt;").replace("[", "\\[")


def python_page() -> str:
    """The public names by module, from their docstrings."""
    parts = [
        "# Python",
        "",
        "`import fedpet` gives `load_study`, `quantify`, `read_record`, `published_scores`, `load_model`, `predict`,",
        "`explain` and `write_report`; each is described below where it is defined. First: [library](../library.md).",
        "",
    ]
    parts += [f"::: {module}\n" for module in _MODULES]
    return "\n".join(parts)


def results_page() -> str:
    """Links to what is committed under docs/results."""
    lines = ["# Measured results", ""]
    for report in sorted((ROOT / "docs" / "results").glob("*/report.html")):
        name = report.parent.name
        title = name.replace("_", " ")
        lines.append(f"- [{title}](../results/{name}/report.html): an evaluation report; its numbers are beside it")
    if (ROOT / "docs" / "results" / "benchmarks.md").exists():
        lines.append("- [Benchmarks](../results/benchmarks.md): time and accuracy, by `make bench`")
    return "\n".join(lines) + "\n"


def decisions_page() -> str:
    """The records of architecture decisions, by their titles."""
    lines = ["# Decisions", "", "Why things are as they are, one record each.", ""]
    for record in sorted((ROOT / "docs" / "adr").glob("*.md")):
        title = record.read_text(encoding="utf-8").split("\n", maxsplit=1)[0].lstrip("# ")
        lines.append(f"- [{title}](../adr/{record.name})")
    return "\n".join(lines) + "\n"
