"""Options that several commands share, each declared once, as fields of a dataclass."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from functools import wraps
from getpass import getuser
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_type_hints

import typer

from app.cases.options import CaseOptions
from fedpet.core.errors import IncompatibleBundleError
from fedpet.core.messages import Message
from fedpet.imaging.lesions.lesion import ThresholdMethod
from fedpet.imaging.suv.overrides import NAMES, ManualOverride, parse_override

if TYPE_CHECKING:
    from inference.input_contract import InputContract
    from training.data.process_pool import Workers

Study = Annotated[Path, typer.Argument(exists=True, help="Folder, zip or file with a PET/CT study in DICOM.")]
InferenceServer = Annotated[
    str, typer.Option(help="Address of a server that runs the network (Open Inference Protocol v2), https://host:port.")
]
Json = Annotated[bool, typer.Option("--json", help="Write only JSON to standard output.")]


@dataclass(frozen=True, kw_only=True)
class HeaderOptions:
    """Corrections of the PET's headers, and the choice of series."""

    weight: Annotated[str, typer.Option(help="Weight in kg, instead of the headers'. Needs --reason.")] = ""
    height: Annotated[str, typer.Option(help="Height in m, instead of the headers'. Needs --reason.")] = ""
    dose: Annotated[str, typer.Option(help="Injected activity in MBq, instead of the headers'. Needs --reason.")] = ""
    injection_time: Annotated[
        str, typer.Option(help="Time of injection, HH:MM[:SS] or YYYY-MM-DDTHH:MM:SS. Needs --reason.")
    ] = ""
    scan_start: Annotated[str, typer.Option(help="Start of the scan, as --injection-time. Needs --reason.")] = ""
    reason: Annotated[str, typer.Option(help="Why values of the headers are corrected; stored with the result.")] = ""
    pet_series: Annotated[int | None, typer.Option(help="PET series to use: its number in the list of `inspect`.")] = (
        None
    )
    ct_series: Annotated[int | None, typer.Option(help="CT series to use: its number in the list of `inspect`.")] = None

    def corrections(self) -> tuple[ManualOverride, ...]:
        """The corrections given.

        Raises:
            OverrideError: a value cannot be read, or no reason is given.
        """
        values = (self.weight, self.height, self.dose, self.injection_time, self.scan_start)
        return tuple(
            parse_override(name, value, reason=self.reason, by=operator())
            for name, value in zip(NAMES, values, strict=True)
            if value
        )


@dataclass(frozen=True, kw_only=True)
class LesionOptions:
    """Lesions drawn by a reader, or which components count as lesions."""

    lesions: Annotated[
        Path | None, typer.Option(exists=True, help="Lesions drawn by a reader: NIfTI, DICOM SEG or RTSTRUCT.")
    ] = None
    roi: Annotated[list[str] | None, typer.Option(help="Segment or contour of --lesions to use; may be repeated.")] = (
        None
    )
    include: Annotated[list[int] | None, typer.Option(help="Component to count as a lesion; may be repeated.")] = None
    exclude: Annotated[list[int] | None, typer.Option(help="Component not to count as a lesion; may be repeated.")] = (
        None
    )


@dataclass(frozen=True, kw_only=True)
class OrganOptions:
    """Organs from elsewhere."""

    organs: Annotated[
        Path | None,
        typer.Option(exists=True, help="Organs of this CT: DICOM SEG, NIfTI labels, or TotalSegmentator's folder."),
    ] = None
    organ_names: Annotated[
        Path | None, typer.Option(exists=True, help='JSON with the names of the NIfTI labels: {"5": "liver"}.')
    ] = None
    segmenter: Annotated[
        Literal["learned", "totalsegmentator", "rules"] | None,
        typer.Option(help="What finds the organs: by default learned, the network of fedpet, checked by rules."),
    ] = None


@dataclass(frozen=True, kw_only=True)
class EngineOptions:
    """Where the work is done."""

    workers: Annotated[
        int | None, typer.Option(min=1, help="Tasks side by side; without, one for each core of what does the work.")
    ] = None
    engine: Annotated[
        Literal["processes", "ray"], typer.Option(help="processes of this machine, or a Ray cluster of the hospital.")
    ] = "processes"
    address: Annotated[
        str, typer.Option(help="Of the Ray cluster: HOST:PORT, auto, or local for one on this machine.")
    ] = "local"

    @property
    def chosen(self) -> Workers:
        """Number of processes, or the cluster."""
        from training.data.process_pool import all_cores
        from training.data.ray_cluster import RayCluster

        return RayCluster(self.address, self.workers) if self.engine == "ray" else self.workers or all_cores()


def case_options(
    headers: HeaderOptions,
    lesions: LesionOptions | None = None,
    method: ThresholdMethod | None = None,
    organs: OrganOptions | None = None,
) -> CaseOptions:
    """What the reader chose on the command line.

    Raises:
        OverrideError: a correction cannot be read.
    """
    lesions = lesions or LesionOptions()
    organs = organs or OrganOptions()
    return CaseOptions(
        corrections=headers.corrections(),
        pet_series=headers.pet_series,
        ct_series=headers.ct_series,
        method=method or "suv4",
        include=tuple(lesions.include or ()),
        exclude=tuple(lesions.exclude or ()),
        mask=lesions.lesions,
        rois=tuple(lesions.roi or ()),
        organs=organs.organs,
        organ_names=organs.organ_names,
        segmenter=organs.segmenter,
    )


def given_contract(path: Path) -> InputContract:
    """The input contract in a file.

    Raises:
        IncompatibleBundleError: it cannot be read, or says what cannot be meant.
    """
    from inference.input_contract import InputContract

    try:
        return InputContract.read(path)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise IncompatibleBundleError(
            found=Message("The input contract cannot be used: {why}.", why=str(error) or type(error).__name__),
            needed=Message("A contract.json as “fedpet train contract” writes it."),
            advice=Message("Take the file again from the coordinating centre; do not edit it."),
        ) from error


def operator() -> str:
    """Who runs the command."""
    try:
        return getuser()
    except (KeyError, OSError):  # a container whose user has no name
        return str(os.getuid())


def expand_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command every field of its dataclass arguments as an option of its own, in their place.

    Typer reads options from a signature, and knows no groups of them.
    """
    hints = get_type_hints(command, include_extras=True)
    groups: dict[str, Any] = {name: hint for name, hint in hints.items() if is_dataclass(hint)}
    parameters: list[Parameter] = []
    for parameter in signature(command).parameters.values():
        if group := groups.get(parameter.name):
            types = get_type_hints(group, include_extras=True)
            parameters += [_option(one.name, one.default, types[one.name]) for one in fields(group)]
        else:
            parameters.append(_option(parameter.name, parameter.default, hints[parameter.name]))

    @wraps(command)
    def run(**given: Any) -> None:
        chosen = {
            name: group(**{one.name: given.pop(one.name) for one in fields(group)}) for name, group in groups.items()
        }
        command(**given, **chosen)

    run.__signature__ = Signature(parameters)  # type: ignore[attr-defined]  # what `inspect.signature` looks for
    run.__annotations__ = {one.name: one.annotation for one in parameters}
    return run


def _option(name: str, default: object, annotation: object) -> Parameter:
    return Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
