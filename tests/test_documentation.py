"""What the documentation shows is what the program takes, and nothing that it takes is left out."""

import ast
import itertools
import re
import shlex
import sys
from datetime import datetime

import pytest
from typer._click.exceptions import ClickException, UsageError
from typer.main import get_command

from app.cli.main import main
from tests.support import ROOT

sys.path.insert(0, str(ROOT / "scripts"))

PAGES = [*sorted((ROOT / "docs").rglob("*.md")), ROOT / "README.md"]
COMMANDS = get_command(main)


def shown(text):
    """(command, whole): what a fenced block gives as a line, and what a sentence names in backticks."""
    for kind, block in re.findall(r"^ *```(\w*)\n(.*?)^ *```", text, re.DOTALL | re.MULTILINE):
        if kind in {"", "sh", "bash", "console"}:
            for line in block.replace("\\\n", " ").splitlines():
                for part in re.split(r";|&&| \| | #", line):
                    found = re.match(r"(?:do |export )?(?:\w+=\S+ )*(?:\S*/bin/)?fedpet (.*)", part.strip())
                    if found:
                        yield found[1], True
    for one in re.findall(r"`fedpet ([^`]+)`", re.sub(r"^ *```.*?^ *```", "", text, flags=re.DOTALL | re.MULTILINE)):
        yield one.split(";")[0], False


def alternatives(command):
    """Each way to type a line that says `a|b` or that has parts in square brackets; redirections are the shell's."""
    words = shlex.split(re.sub(r"[\[\]]", " ", re.sub(r">\s*\S+", "", command)))
    return itertools.islice(itertools.product(*(word.split("|") for word in words)), 64)


def parse(words, command=COMMANDS, path="fedpet"):
    """The real parser takes the words; placeholders stand for what each option takes, paths need not exist."""
    if hasattr(command, "commands"):
        name, *rest = words
        if name == "--version":
            return
        assert name in command.commands, f"{path} has no command {name}"
        if rest or not hasattr(command.commands[name], "commands"):
            parse(rest, command.commands[name], f"{path} {name}")
        return
    by_name = {one: parameter for parameter in command.params for one in (*parameter.opts, *parameter.secondary_opts)}
    filled, option = [], None
    for word in words:
        if option is not None:
            filled.append(meant(word, option.type_descriptor.annotation))
            option = None
        elif word not in {"...", "…"}:
            filled.append(word)
            parameter = by_name.get(word)
            option = None if parameter is None or getattr(parameter, "is_flag", False) else parameter
    for parameter in command.params:
        if hasattr(parameter, "type_descriptor"):
            parameter.type_descriptor.parameter_info.exists = False
    command.make_context(path, filled)


def meant(word, annotation):
    """What a placeholder stands for: a number, the first choice, a day; other words are themselves."""
    if word not in {"...", "…"} and not re.fullmatch(r"[A-Z][A-Z0-9_]*", word):
        return word
    inside = kinds(annotation)
    if {int, float} & {kind for kind in inside if isinstance(kind, type)}:
        return "1"
    if datetime in inside:
        return "2026-01-01"
    return next((kind for kind in inside if isinstance(kind, str)), word)


def kinds(annotation):
    """The types in an annotation, however deep."""
    inside = getattr(annotation, "__args__", ())
    return [annotation, *(kind for one in inside for kind in kinds(one))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_program_takes_every_command_of_the_page(page):
    wrong = []
    for line, whole in shown(page.read_text(encoding="utf-8")):
        for words in alternatives(line):
            try:
                parse(words)
            except (AssertionError, ClickException, UsageError) as error:
                said = str(getattr(error, "message", "") or error)
                if whole or not re.match("Missing|Option .* requires", said):  # a sentence need not give the arguments
                    wrong.append(f"fedpet {' '.join(words)}: {said or type(error).__name__}")
    assert wrong == []


@pytest.mark.parametrize(
    "planted", ["predikt STUDY", "predict STUDY --clinicl R --out C", "app --port many", "batch A B"]
)
def test_a_planted_mistake_is_found(planted):
    with pytest.raises((AssertionError, UsageError)):
        parse(shlex.split(planted))


def test_every_command_is_described_in_words():
    """Beside the page that is made from the parsers, some page or the README names each command."""
    from docs_pages import leaves

    named = {tuple(words[:3]) for page in PAGES for line, _ in shown(page.read_text()) for words in alternatives(line)}
    known = {word[:n] for word in named for n in (1, 2, 3)}
    commands = {path[1:] for path, _ in leaves(COMMANDS)}
    assert {" ".join(path) for path in commands - known} == set()


def _constants(tree):
    """Names that a module gives to words, one or several at a time."""
    for one in tree.body:
        if isinstance(one, ast.Assign | ast.AnnAssign) and one.value is not None:
            (target,) = one.targets if isinstance(one, ast.Assign) else (one.target,)
            pairs = [(target, one.value)]
            if isinstance(target, ast.Tuple) and isinstance(one.value, ast.Tuple):
                pairs = zip(target.elts, one.value.elts, strict=True)
            yield from (
                (name.id, value.value)
                for name, value in pairs
                if isinstance(name, ast.Name) and isinstance(value, ast.Constant)
            )


def test_every_quality_check_is_documented():
    """By its name in backticks; `_grade` and its like are what `fedpet/imaging/quality/checks.py` makes checks with."""
    pages = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    found = set()
    for path in itertools.chain.from_iterable((ROOT / one).rglob("*.py") for one in ("app", "fedpet", "inference")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        constants = dict(_constants(tree))
        for call in ast.walk(tree):
            makers = {"QualityCheck", "_grade", "_pass", "_warn", "_fail"}
            if isinstance(call, ast.Call) and ast.unparse(call.func) in makers and call.args:
                name = getattr(call.args[0], "value", None) or constants.get(ast.unparse(call.args[0]))
                found |= {name} if isinstance(name, str) else set()
    assert len(found) > 25
    assert {name for name in found if f"`{name}`" not in pages} == set()
