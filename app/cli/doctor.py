"""`fedpet doctor`: what of an installation is sound, and what to do about what is not."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.console import FAILED, reported, say, write_json
from fedpet.core.errors import FedpetError
from fedpet.core.messages import Message
from fedpet.core.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy import Engine

    from app.cases.store import Store
    from fedpet.core.settings import Settings

_ROOM_MB = 2048  # of a study with its results, and some more
_AGREEMENT = 1e-5  # of a server with ONNX Runtime here, as far as single precision carries
_ONNX = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider", "tensorrt": "TensorrtExecutionProvider"}


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        name: of the thing.
        sound: whether it is as it should be; also where it is absent and not needed.
        found: what was found.
        absent: whether it is not there, which is no fault.
    """

    name: str
    sound: bool
    found: Message
    absent: bool = False

    @property
    def mark(self) -> str:
        """The sign in front of its line."""
        if not self.sound:
            return "✗"
        return "–" if self.absent else "✓"


def doctor(
    pacs: Annotated[bool, typer.Option("--pacs/--no-pacs", help="Also ask every PACS whether it answers.")] = True,
    json: Annotated[bool, typer.Option("--json", help="Write only JSON to standard output.")] = False,
) -> None:
    """Look at folder, disk, database, trail, cases, fonts, model, ONNX Runtime and PACS; exit code 2 on a fault."""
    with reported(as_json=json):
        settings = load_settings()
        findings = list(examine(settings, pacs=pacs))
    if json:
        facts = [{"name": one.name, "sound": one.sound, "found": str(one.found)} for one in findings]
        write_json({"sound": all(one.sound for one in findings), "findings": facts})
    else:
        for one in findings:
            line = Message("{mark} {name}: {found}", mark=one.mark, name=one.name, found=one.found)
            say(line, style=None if one.sound else "red")
    if not all(one.sound for one in findings):
        raise typer.Exit(FAILED)


def examine(settings: Settings, *, pacs: bool) -> Iterator[Finding]:
    """Look at an installation.

    Args:
        settings: of the installation.
        pacs: whether to connect to every PACS.
    """
    yield from _checked("home", lambda: _home(settings))
    yield from _checked("disk", lambda: _disk(settings))
    yield from _checked("database", lambda: _database(settings))
    yield from _checked("fonts", _fonts)
    yield from _checked("model", lambda: _model(settings))
    for name in _ONNX:
        yield from _checked(f"onnxruntime {name}", lambda name=name: _provider(name))  # type: ignore[misc]
    if settings.inference_server.url:
        yield from _checked("inference server", lambda: _server(settings))
    for name in settings.pacs if pacs else ():
        yield from _checked(f"pacs {name}", lambda name=name: _pacs(settings, name))  # type: ignore[misc]


def _checked(name: str, look: Callable[[], Iterator[tuple[bool | None, Message]]]) -> Iterator[Finding]:
    """The findings of one look, None for what is absent and not needed; an error of fedpet is a finding."""
    try:
        for sound, found in look():
            yield Finding(name, sound is not False, found, absent=sound is None)
    except FedpetError as error:
        yield Finding(name, sound=False, found=Message("{found} {advice}", found=error.found, advice=error.advice))


def _home(settings: Settings) -> Iterator[tuple[bool, Message]]:
    from fedpet.core.scratch import scratch_folder

    folder = settings.folder
    try:
        with scratch_folder(folder):
            yield True, Message("{home} can be written to.", home=str(folder))
    except OSError as error:
        why = error.strerror or type(error).__name__
        yield False, Message("{home} cannot be written to ({why}).", home=str(folder), why=why)
    if folder.stat().st_mode & 0o077:
        yield False, Message("Other accounts can look into {home}: chmod 700.", home=str(folder))


def _disk(settings: Settings) -> Iterator[tuple[bool, Message]]:
    free = shutil.disk_usage(settings.folder).free / 2**20
    yield free > _ROOM_MB, Message("{free:.0f} MB are free, {needed} are needed.", free=free, needed=_ROOM_MB)


def _database(settings: Settings) -> Iterator[tuple[bool, Message]]:
    from app.audit.trail import AuditTrail
    from app.cases.model_choice import without_model
    from app.cases.store import Store

    store = Store.open(settings)
    try:
        yield from _integrity(store.engine)
        verdict = AuditTrail.of(store.engine, settings).verify()
        entries = Message(
            "The audit trail is sound, with one entry.",
            "The audit trail is sound, with {count} entries.",
            count=verdict.entries,
        )
        yield verdict.broken is None, verdict.broken or entries
        yield from _folders(store)
        gone = without_model(store, settings)
        yield True, _without_model(gone)
    finally:
        store.close()


def _without_model(gone: int) -> Message:
    if not gone:
        return Message("Every answered case that waits for a signature has its model here.")
    return Message(
        "One answered case waits for a signature, and its model is not here any more.",
        "{count} answered cases wait for a signature, and their model is not here any more.",
        count=gone,
    )


def _integrity(engine: Engine) -> Iterator[tuple[bool, Message]]:
    if engine.dialect.name != "sqlite":
        yield True, Message("The database answers ({name}).", name=engine.dialect.name)
        return
    with engine.connect() as connection:
        answer = str(connection.exec_driver_sql("PRAGMA integrity_check(1)").scalar())
    damaged = Message("The database is damaged ({what}): bring it back from its backup.", what=answer.splitlines()[0])
    yield answer == "ok", Message("The database is whole.") if answer == "ok" else damaged


def _folders(store: Store) -> Iterator[tuple[bool, Message]]:
    """Cases whose folder is missing, and folders of no case, as after a backup of one without the other."""
    known = store.identifiers()
    held = {path.name for path in (store.home / "cases").glob("*") if path.is_dir()}
    lost, orphans = len(known - held), len(held - known)
    found = Message(
        "{n} cases; {lost} without their folder, {orphans} folders without a case: database and home belong together.",
        n=len(known),
        lost=lost,
        orphans=orphans,
    )
    yield not (lost or orphans), found


def _fonts() -> Iterator[tuple[bool, Message]]:
    from reportlab.pdfbase.ttfonts import TTFError

    from reports.pdf.style import unprintable

    try:
        missing = unprintable("Évaluation – TEP ✓")
    except (OSError, TTFError):
        yield False, Message("The fonts of the report are missing or damaged: install fedpet again.")
    else:
        yield not missing, Message("The fonts of the report are there.")


def _model(settings: Settings) -> Iterator[tuple[bool, Message]]:
    from inference.engine import Engine as Network
    from inference.registry import Registry

    bundle = Registry.of(settings).in_force()
    engine = Network(bundle, provider="cpu", threads=1)
    name = f"{bundle.card['name']} {bundle.card['version']}"
    yield True, Message("The model in force opens: {name} ({provider}).", name=name, provider=engine.provider)


def _provider(name: str) -> Iterator[tuple[bool | None, Message]]:
    """Whether a provider of ONNX Runtime can run here, or why not; only the CPU has to."""
    import onnxruntime

    from inference.bundle.storage import load_model
    from inference.engine import Engine as Network
    from inference.engine import nvidia_driver

    if name != "cpu" and not nvidia_driver():
        yield None, Message("It does not run here: the kernel has no NVIDIA driver.")
        return
    if _ONNX[name] not in onnxruntime.get_available_providers():
        absent = False if name == "cpu" else None
        yield absent, Message("It does not run here: the installed onnxruntime was built without it.")
        return
    try:
        Network(load_model(), provider=name)  # type: ignore[arg-type]  # one of its names
    except FedpetError as error:
        yield False, error.needed
    else:
        yield True, Message("It runs.")


def _server(settings: Settings) -> Iterator[tuple[bool, Message]]:
    """Whether the server answers as ONNX Runtime does here, on one made-up patient."""
    import numpy as np

    from inference.engine import Engine as Network
    from inference.engine import largest_difference
    from inference.preprocessing import blank_image
    from inference.registry import Registry

    bundle = Registry.of(settings).in_force()
    clinical = np.linspace(-1.0, 1.0, len(bundle.contract.inputs), dtype=np.float32)
    image = blank_image(bundle.contract)
    here, there = (one.run(image, clinical) for one in (Network(bundle, provider="cpu"), Network.of(bundle, settings)))
    apart = largest_difference(here, there)
    found = Message("It answers; the largest difference from the answer computed here is {apart:.1e}.", apart=apart)
    yield apart <= _AGREEMENT, found


def _pacs(settings: Settings, name: str) -> Iterator[tuple[bool, Message]]:
    from app.exchange.cases import connect

    connect(settings, name).echo()
    yield True, Message("It answers.")
