"""Painting lesions into a body: exact volumes, lumpy borders, necrotic cores, heterogeneous uptake."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from training.simulation.phantom.canvas import noise_field
from training.simulation.phantom.tissues import Tissue

if TYPE_CHECKING:
    from training.simulation.patients.metastases import LesionKind, LesionSpec
    from training.simulation.phantom.canvas import Box, Canvas, Field, Mask
    from training.simulation.phantom.rendering import Body

_UPTAKE_DRIFT: Final = 0.07  # of tumours per 15 min of uptake time
_DENSITY: Final[dict[LesionKind, float]] = {
    "primary": 40.0, "node": 42.0, "lung": 35.0, "liver": 36.0, "bone": 75.0, "adrenal": 34.0, "brain": 44.0,
}  # fmt: skip
_SCLEROTIC_HU: Final = 620.0
_ENHANCEMENT: Final = 28.0
_OUTSIDE: Final = (Tissue.AIR, Tissue.COUCH)
_STRANDED: Final = (Tissue.LUNG, Tissue.VESSEL, Tissue.FAT, Tissue.MEDIASTINUM)
_STRANDING_MM: Final = 14.0  # how far from a lesion
_STRANDING_HU: Final = 30.0
_NOT_SOFT_HU: Final = -60.0
_STRANDING_SHARE: Final = (0.22, 0.11, 0.5)  # at the border: mean, for one standard deviation, at most


def paint_lesion(
    canvas: Canvas,
    body: Body,
    lesion: LesionSpec,
    number: int,
    *,
    contrast: bool,
    drift: float,
    stranding: float | None = None,
) -> None:
    """Paint a lesion.

    Args:
        canvas: of the body.
        body: painted in place.
        lesion: what is drawn.
        number: its value in `body.lesions`.
        contrast: whether the CT was enhanced.
        drift: the uptake time beyond 60 min, in 15 min.
        stranding: of the patient, see `training.simulation.patients.population.Patient`.
    """
    if stranding is not None and lesion.kind != "brain":
        _paint_stranding(canvas, body, lesion, stranding)
    rng = np.random.default_rng(lesion.seed)
    box, level = _neighbourhood(canvas, lesion)
    sigma = [max(1.0, 0.22 * min(lesion.axes) / step) for step in canvas.lattice.spacing[::-1]]
    lumps = noise_field(rng, (level.shape[0], level.shape[1], level.shape[2]), sigma)
    grain = noise_field(
        rng, (level.shape[0], level.shape[1], level.shape[2]), [4.5 / step for step in canvas.lattice.spacing[::-1]]
    )
    if lesion.kind == "brain":
        _paint_oedema(body, box, level)
    free = ~np.isin(canvas.labels[box], _OUTSIDE)
    ordered = np.where(free, level * (1 + 0.07 * lumps), np.inf)
    voxel_ml = float(np.prod(canvas.lattice.spacing)) / 1000
    mask = _lowest(ordered, max(1, round(lesion.ml / voxel_ml)))
    core = mask & _lowest(np.where(mask, level + 0.1 * lumps, np.inf), round(lesion.necrosis * mask.sum()))
    active = mask & ~core
    uptake = np.clip(1 + lesion.heterogeneity * grain, 0.35, 2.0)
    suv = lesion.suv * (1 + _UPTAKE_DRIFT * drift) * uptake / max(float(uptake[active].mean()), 1e-6)
    if lesion.kind == "brain":
        suv = np.full_like(suv, 0.5 * body.suv[box].max(initial=0.0))
    body.suv[box][active] = suv[active]
    body.suv[box][core] = min(max(0.16 * lesion.suv, 0.6), 2.2)
    hu = _SCLEROTIC_HU if lesion.kind == "bone" and lesion.seed % 2 else _DENSITY[lesion.kind]
    hu += _ENHANCEMENT if contrast else 0.0
    body.hu[box][active] = (hu + 7 * grain)[active]
    body.hu[box][core] = 18.0
    body.lesions[box][mask] = number
    body.necrosis[box][mask] = core[mask]


def _paint_stranding(canvas: Canvas, body: Body, lesion: LesionSpec, stranding: float) -> None:
    """Denser lung and fat around a lesion, on the CT only, less with the distance; other lesions stay as they are."""
    mean, step, most = _STRANDING_SHARE
    box, level = _neighbourhood(canvas, lesion, margin_mm=_STRANDING_MM)
    nearness = np.clip(1 - (level - 1) * float(np.mean(lesion.axes)) / _STRANDING_MM, 0, 1)
    shape = (level.shape[0], level.shape[1], level.shape[2])
    streaks = noise_field(
        np.random.default_rng([lesion.seed, 1]), shape, [3.0 / step_mm for step_mm in canvas.lattice.spacing[::-1]]
    )
    share = np.clip(mean + step * stranding, 0, most) * nearness * np.clip(1 + 0.3 * streaks, 0, 1.5)
    share[~np.isin(canvas.labels[box], _STRANDED) | (body.lesions[box] > 0)] = 0
    hu = body.hu[box]
    denser = hu + share * (_STRANDING_HU - hu)
    body.hu[box] = np.where(hu <= _NOT_SOFT_HU, np.minimum(denser, _NOT_SOFT_HU), denser)  # no necrosis by the rules


def _neighbourhood(canvas: Canvas, lesion: LesionSpec, *, margin_mm: float = 0.0) -> tuple[Box, Field]:
    """The voxels around a lesion, and its ellipsoid's level there (1 at the border), in the patient's mm."""
    centre = canvas.to_patient(lesion.centre)[0]
    origin, spacing = canvas.lattice.affine[:3, 3], np.array(canvas.lattice.spacing)
    reach = 1.5 * np.array(lesion.axes) + 2 * spacing + margin_mm
    first = np.maximum(np.floor((centre - reach - origin) / spacing), 0).astype(int)
    last = np.minimum(np.ceil((centre + reach - origin) / spacing) + 1, canvas.lattice.shape[::-1]).astype(int)
    x, y, z = (
        ((origin[i] + spacing[i] * np.arange(first[i], last[i]) - centre[i]) / lesion.axes[i]) ** 2 for i in range(3)
    )
    level = np.sqrt(z[:, None, None] + y[None, :, None] + x[None, None, :]).astype(np.float32)
    box = slice(first[2], last[2]), slice(first[1], last[1]), slice(first[0], last[0])
    return box, level


def _lowest(values: Field, number: int) -> Mask:
    """The `number` lowest finite values, ties in the order of the array."""
    order = np.argsort(values, axis=None, kind="stable")[:number]
    mask = np.zeros(values.size, bool)
    mask[order] = True
    return mask.reshape(values.shape) & np.isfinite(values)


def _paint_oedema(body: Body, box: Box, level: Field) -> None:
    """Around a brain metastasis: hypodense and hypometabolic."""
    halo = (level < 1.45) & (body.hu[box] < 200)
    body.hu[box][halo] = 21.0
    body.suv[box][halo] *= 0.55
