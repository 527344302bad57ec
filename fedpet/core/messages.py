"""Sentences for people: written once in English in the code, said in French or English.

A `Message` travels with a result (a quality check, an error, a reason to abstain) and is translated only where it is
shown. Catalogues are gettext `.po` files, one per package, in `locale/<language>/LC_MESSAGES/<package>.po`; they are
compiled in memory, so that no binary is kept in the repository. Sentences that earlier versions stored, in results and
journals, stay in `earlier/<version>.po`.
"""

from __future__ import annotations

import gettext
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import resources
from typing import Any, Literal

from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po

Language = Literal["fr", "en"]
LANGUAGES: tuple[Language, ...] = ("fr", "en")


@dataclass(frozen=True, init=False)
class Message:
    """One sentence with its values, for example `Message("PET covers {mm:.0f} mm", mm=150.0)`.

    `template` is a `str.format` template and the gettext msgid. Values are numbers, short strings or other messages
    (translated in their turn); they never identify a patient. A sentence whose words follow a number has a second
    template, `plural`, and that number as its value `count`: `Message("One lesion", "{count} lesions", count=3)`.
    """

    template: str
    plural: str
    values: Mapping[str, Any] = field(hash=False)

    def __init__(self, template: str, plural: str = "", /, **values: Any) -> None:
        object.__setattr__(self, "template", template)
        object.__setattr__(self, "plural", plural)
        object.__setattr__(self, "values", values)

    def __str__(self) -> str:
        return translate_message("en")(self)

    def to_json(self) -> dict[str, Any]:
        """Template and values, to be stored and translated later."""
        return {
            "template": self.template,
            **({"plural": self.plural} if self.plural else {}),
            "values": {k: v.to_json() if isinstance(v, Message) else v for k, v in self.values.items()},
        }

    def with_values(self, values: Mapping[str, Any]) -> Message:
        """The same sentence with these values in place of its own."""
        return Message(self.template, self.plural, **values)

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Message:
        """The inverse of `to_json`."""
        values = {
            key: Message.from_json(value) if isinstance(value, Mapping) and "template" in value else value
            for key, value in data["values"].items()
        }
        template = data["template"]
        return Message(template, data.get("plural", ""), **values)


class _EarlierSentences(gettext.NullTranslations):
    """The sentences of earlier versions, which what they stored still holds; read when another catalogue lacks one."""

    def __init__(self, language: Language) -> None:
        super().__init__()
        self._language = language

    def gettext(self, message: str) -> str:
        """The translation of a sentence, or the sentence itself."""
        return _merged(self._language, "earlier").gettext(message)


@lru_cache
def catalogue(language: Language) -> gettext.NullTranslations:
    """All catalogues of one language, merged; English is the source and needs none."""
    return gettext.NullTranslations() if language == "en" else _merged(language)


@lru_cache
def _merged(language: Language, *below: str) -> gettext.NullTranslations:
    """The catalogues in the folder of a language, or in a folder below it."""
    merged: gettext.NullTranslations = gettext.NullTranslations() if below else _EarlierSentences(language)
    folder = resources.files("fedpet.core").joinpath("locale", language, "LC_MESSAGES", *below)
    for po in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if po.name.endswith(".po"):
            binary = io.BytesIO()
            write_mo(binary, read_po(io.BytesIO(po.read_bytes()), locale=language))
            binary.seek(0)
            translations = gettext.GNUTranslations(binary)
            translations.add_fallback(merged)
            merged = translations
    return merged


def translate_message(language: Language) -> Callable[[Message], str]:
    """A function that says messages in `language`."""
    translations = catalogue(language)

    def translate(message: Message) -> str:
        values = {k: translate(v) if isinstance(v, Message) else v for k, v in message.values.items()}
        if message.plural:
            said = translations.ngettext(message.template, message.plural, message.values["count"])
        else:
            said = translations.gettext(message.template)
        return said.format(**values)

    return translate


def gettext_for(language: Language) -> Callable[[str], str]:
    """The gettext function `_` of `language`, for sentences without values."""
    return catalogue(language).gettext
