"""Every sentence of the code has its French, and the catalogues hold nothing else."""

import ast
import string

import pytest
from babel.messages.pofile import read_po

from fedpet.core.messages import Message, gettext_for, translate_message
from tests.support import ROOT

_SPEAKERS = {"Message", "_", "loc.text", "localization().text"}
CATALOGUES = {
    "app": "app",
    "clinical": "fedpet/clinical",
    "core": "fedpet/core",
    "explain": "explain",
    "imaging": "fedpet/imaging",
    "inference": "inference",
    "reports": "reports",
    "training": "training",
}


def _placeholders(template):
    return {(name, spec) for _, name, spec, _ in string.Formatter().parse(template) if name is not None}


def _sentences(folder):
    """What the package says through `Message`, `_` or `Localization.text`, also inside f-strings and conditions."""
    found = set()
    for path in (ROOT / folder).rglob("*.py"):
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(call, ast.Call) and call.args and ast.unparse(call.func) in _SPEAKERS:
                first, *others = call.args
                choices = [first.body, first.orelse] if isinstance(first, ast.IfExp) else [first]
                said = {c.value for c in choices if isinstance(c, ast.Constant) and isinstance(c.value, str)}
                plural = [other.value for other in others if isinstance(other, ast.Constant)]
                found |= {(one, *plural) if plural else one for one in said}
    return found


@pytest.mark.parametrize("name", CATALOGUES)
def test_catalogue_is_complete_and_has_nothing_stale(name):
    path = ROOT / "fedpet" / "core" / "locale" / "fr" / "LC_MESSAGES" / f"{name}.po"
    with path.open("rb") as file:
        french = {entry.id: entry.string for entry in read_po(file, locale="fr") if entry.id}
    assert set(french) == _sentences(CATALOGUES[name])
    assert [msgid for msgid, text in french.items() if not text] == []
    for msgid, text in french.items():
        if isinstance(msgid, tuple):
            assert "" not in text
            assert len(text) == len(msgid) == 2
            assert _placeholders(text[0]) | {("count", "")} == _placeholders(text[1]) == _placeholders(msgid[1]), msgid
        else:
            assert _placeholders(text) == _placeholders(msgid), msgid


def test_a_sentence_has_one_french_in_all_catalogues():
    """The catalogues are merged: of two, the last would be said everywhere."""
    said = {}
    for name in CATALOGUES:
        with (ROOT / f"fedpet/core/locale/fr/LC_MESSAGES/{name}.po").open("rb") as file:
            for entry in read_po(file, locale="fr"):
                said.setdefault(entry.id, set()).add(entry.string)
    assert {sentence: french for sentence, french in said.items() if len(french) > 1 and sentence} == {}


def test_a_message_is_said_in_both_languages_with_its_values():
    message = Message("The file {name} is missing.", name="model.onnx")
    assert str(message) == "The file model.onnx is missing."
    assert translate_message("fr")(message) == "Le fichier model.onnx est absent."


def test_a_message_inside_a_message_is_translated_too():
    inner = Message("Albumin")
    assert translate_message("fr")(Message("{term}: missing", term=inner)) == "Albumine : manquant"
    assert Message.from_json(Message("{term}: missing", term=inner).to_json()) == Message("{term}: missing", term=inner)


@pytest.mark.parametrize(
    ("count", "french", "english"),
    [
        (0, "0 contrôle sans remarque.", "0 checks without remark."),
        (1, "1 contrôle sans remarque.", "One check without remark."),
        (2, "2 contrôles sans remarque.", "2 checks without remark."),
    ],
)
def test_words_follow_their_number(count, french, english):
    message = Message("One check without remark.", "{count} checks without remark.", count=count)
    assert translate_message("fr")(message) == french
    assert str(message) == english
    assert Message.from_json(message.to_json()) == message
    assert str(message.with_values({"count": 5})) == "5 checks without remark."


def test_english_is_the_source():
    assert gettext_for("en")("Albumin") == "Albumin"
