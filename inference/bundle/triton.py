"""A bundle as a model repository of Triton, which KServe and OpenVINO Model Server read, too.

::

    OUT/NAME-DIGEST/config.pbtxt     inputs and outputs of the network, as ONNX Runtime reads them from its graph
    OUT/NAME-DIGEST/1/model.onnx     the network of the bundle, byte for byte

The name ends in the beginning of the bundle's digest: a server asked for it cannot answer with another model's network.
"""

from __future__ import annotations

import re
import shutil
from typing import TYPE_CHECKING, Any

import onnxruntime

from fedpet.core.errors import OutputError
from fedpet.core.messages import Message

if TYPE_CHECKING:
    from pathlib import Path

    from inference.bundle.storage import Bundle

EMPTY_OF_TABLES = frozenset({"biomarkers", "maps"})  # outputs without elements where no image is read
_TYPES = {"tensor(float)": "TYPE_FP32"}
_VERSION = "1"  # of the repository: a change of the network changes the name


def repository_name(bundle: Bundle) -> str:
    """The name of the model on a server: that of the card and twelve digits of the digest."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", str(bundle.card["name"])).strip("-.") or "model"
    return f"{name}-{bundle.digest[:12]}"


def export_triton(bundle: Bundle, out: Path) -> Path:
    """Write the bundle into a model repository.

    Args:
        bundle: the model.
        out: the repository: a folder, made where it is missing, in which other models may lie.

    Returns:
        The folder of the model in it.

    Raises:
        OutputError: the repository holds this model, or cannot be written.
    """
    session = onnxruntime.InferenceSession(bundle.onnx, providers=["CPUExecutionProvider"])
    folder = out / repository_name(bundle)
    try:
        (folder / _VERSION).mkdir(parents=True)
        (folder / "config.pbtxt").write_text(_config(bundle, session), encoding="utf-8")
        shutil.copyfile(bundle.onnx, folder / _VERSION / "model.onnx")
    except OSError as error:
        there = isinstance(error, FileExistsError)
        why = error.strerror or type(error).__name__
        raise OutputError(
            found=Message("The repository holds this model.")
            if there
            else Message("The repository cannot be written ({why}).", why=why),
            needed=Message("A folder that can be written, without this model."),
            advice=Message("Choose another folder, or remove the model from it."),
        ) from error
    return folder


def _config(bundle: Bundle, session: onnxruntime.InferenceSession) -> str:
    """`config.pbtxt`; tensors without elements are left out, which Triton does not take."""
    facts = {
        "fedpet.digest": bundle.digest,
        "fedpet.input_contract": bundle.contract.fingerprint,
        "fedpet.name": bundle.card["name"],
        "fedpet.version": bundle.card["version"],
    }
    lines = [
        f'name: "{repository_name(bundle)}"',
        'backend: "onnxruntime"',
        'default_model_filename: "model.onnx"',
        "max_batch_size: 0",  # dims are those of the graph, the patients with them
        f"version_policy: {{ specific: {{ versions: [ {_VERSION} ] }} }}",
        *_tensors("input", session.get_inputs()),
        *_tensors("output", [one for one in session.get_outputs() if 0 not in one.shape]),
        *(
            f'parameters: {{ key: "{key}" value: {{ string_value: {_quoted(str(value))} }} }}'
            for key, value in facts.items()
        ),
    ]
    return "\n".join(lines) + "\n"


def _tensors(field: str, tensors: list[Any]) -> list[str]:
    return [
        f'{field} {{ name: "{one.name}" data_type: {_TYPES[one.type]} dims: [ {_dims(one.shape)} ] }}'
        for one in tensors
    ]


def _dims(shape: list[int | str]) -> str:
    """A size that the graph leaves open is -1."""
    return ", ".join(str(size if isinstance(size, int) else -1) for size in shape)


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ")
    return f'"{escaped}"'
