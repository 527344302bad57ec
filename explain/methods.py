"""The methods of explanation by name: what each is for, and how it is called."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from fedpet.core.errors import ArgumentError
from fedpet.core.messages import Message

if TYPE_CHECKING:
    from collections.abc import Mapping

MethodName = Literal[
    "ablation",
    "shapley",
    "integrated_gradients",
    "gradient_shap",
    "deep_lift",
    "layer_gradcam",
    "lesion_occlusion",
    "block_occlusion",
]
METHOD_NAMES: tuple[MethodName, ...] = get_args(MethodName)


@dataclass(frozen=True)
class Method:
    """One method.

    Attributes:
        label: what it does.
        reads: "table" for models that answer from the lesion table, "images" for networks that read the images.
    """

    label: Message
    reads: Literal["table", "images"]


METHODS: Mapping[MethodName, Method] = {
    "ablation": Method(
        Message("measured effect of each lesion, spread over its voxels by integrated gradients"), "table"
    ),
    "shapley": Method(
        Message("Shapley values of the lesions, spread over their voxels by integrated gradients"), "table"
    ),
    "integrated_gradients": Method(Message("integrated gradients (Captum)"), "images"),
    "gradient_shap": Method(Message("GradientSHAP (Captum)"), "images"),
    "deep_lift": Method(Message("DeepLIFT (Captum)"), "images"),
    "layer_gradcam": Method(Message("Grad-CAM of the last layer (Captum)"), "images"),
    "lesion_occlusion": Method(Message("each lesion replaced by the tissue around (Captum)"), "images"),
    "block_occlusion": Method(Message("each block of 32 mm replaced by the tissue around (Captum)"), "images"),
}


def fitting_method(name: str, reads: Literal["table", "images"]) -> MethodName | None:
    """The method of this name; None where there is none, or none for such models."""
    return next((one for one, method in METHODS.items() if one == name and method.reads == reads), None)


def choose_method(name: MethodName | None, reads: Literal["table", "images"]) -> MethodName:
    """The method of this name, or the default for such models.

    Raises:
        ArgumentError: no such method, or none for such models.
    """
    fitting = [one for one, method in METHODS.items() if method.reads == reads]
    if name is None:
        return fitting[0]
    if name in fitting:
        return name
    raise ArgumentError(
        found=Message("The method “{name}” does not explain this model.", name=name),
        needed=Message("One of {names}.", names=", ".join(fitting)),
        advice=Message("Choose one of these, or leave the choice to fedpet."),
    )
