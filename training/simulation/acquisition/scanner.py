"""Effects of a centre's scanner: breathing, resolution, noise, calibration; CT kernel and field of view."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from scipy import ndimage, sparse

from fedpet.imaging.volume import Volume
from training.simulation.phantom.canvas import Lattice, noise_field
from training.simulation.phantom.tissues import Tissue

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from training.simulation.patients.population import Patient
    from training.simulation.patients.reference_body import Mm
    from training.simulation.phantom.canvas import Field
    from training.simulation.phantom.rendering import Body

_SIGMA: Final = 1 / 2.354820045  # of a FWHM
_F18_HALF_LIFE_MIN: Final = 109.77
_BREATHING_REACH_MM: Final = 75.0  # how far from the diaphragm organs move
_NOISE: Final = 0.065  # of the reference scanner, SUV, before dose, time and attenuation
_CT_FIELD_MM: Final = 500.0
_CT_PADDING_HU: Final = -1024
_PHASES: Final = np.cos(np.linspace(0, np.pi, 7))  # of one breath


def pet_image(body: Body, patient: Patient, *, voxel_mm: Mm | None = None) -> Volume:
    """The reconstructed PET in SUV, on the body's own lattice or on voxels of `voxel_mm`.

    Order: breathing, point spread, sampling, noise, calibration. The noise depends on the patient and the
    acquisition only, so that a counterfactual body meets (nearly) the same noise.
    """
    pet, acquisition = patient.site.pet, patient.acquisition
    spacing = body.lattice.spacing
    activity = _breathe(body.suv, body, acquisition.respiration_mm, acquisition.respiration_offset_mm)
    activity = ndimage.gaussian_filter(activity, [pet.psf_mm * _SIGMA / s for s in spacing[::-1]], truncate=3.0)
    lattice = body.lattice
    if voxel_mm is not None:
        activity, lattice = _sampled(activity, body.lattice, voxel_mm)
    rng = np.random.default_rng([acquisition.seed, 0])
    width = [0.9 * pet.psf_mm * _SIGMA / s for s in lattice.spacing[::-1]]
    noise = noise_field(rng, lattice.shape, width)
    noise *= np.sqrt(np.maximum(activity, 0.02)) * _noise_by_slice(body, patient, lattice)[:, None, None]
    suv = np.maximum(activity + noise, 0) * np.float32(acquisition.calibration)
    return Volume(suv.astype(np.float32), lattice.affine, "g/ml")


def ct_image(body: Body, patient: Patient) -> Volume:
    """The CT in HU on the body's lattice, int16."""
    protocol, spacing = patient.site.ct, body.lattice.spacing
    blur = [max(protocol.sharpness_mm * _SIGMA / s, 0.45) for s in spacing[1::-1]]
    hu = ndimage.gaussian_filter(body.hu, [0.3, *blur], truncate=2.5)
    rng = np.random.default_rng([patient.acquisition.seed, 1])
    grain = [0.0, *(max(0.7 * protocol.sharpness_mm / s, 0.3) for s in spacing[1::-1])]
    partial = min(1.0, (2.0 * 2.0 * 3.0 / float(np.prod(spacing))) ** 0.5)  # larger voxels average the noise
    area = _body_area(body)
    strength = protocol.noise_hu * partial * np.sqrt(area / 60_000).clip(0.5, 1.6)
    hu += noise_field(rng, body.lattice.shape, grain) * strength[:, None, None].astype(np.float32)
    _, y, x = body.lattice.axes()
    outside = y[:, None] ** 2 + x[None, :] ** 2 > (_CT_FIELD_MM / 2) ** 2
    values = np.clip(np.round(hu), _CT_PADDING_HU, 3071).astype(np.int16)
    values[:, outside] = _CT_PADDING_HU
    return Volume(values, body.lattice.affine, "HU")


def _breathe(suv: Field, body: Body, amplitude_mm: float, offset_mm: float) -> Field:
    """Average over a breath of the body shifted along z near the diaphragm: one sparse matrix over the slices."""
    z, _, _ = body.lattice.axes()
    weight = np.exp(-(((z - body.dome_mm + 20) / _BREATHING_REACH_MM) ** 2))
    size, step = len(z), body.lattice.spacing[2]
    mixing = np.zeros((size, size), np.float32)
    to = np.arange(size)
    for phase in _PHASES:
        at = to - weight * (offset_mm + amplitude_mm / 2 * phase) / step
        low = np.clip(np.floor(at).astype(int), 0, size - 2)
        share = np.clip(at - low, 0, 1).astype(np.float32) / np.float32(len(_PHASES))
        mixing[to, low] += np.float32(1 / len(_PHASES)) - share
        mixing[to, low + 1] += share
    return np.asarray(sparse.csr_array(mixing) @ suv.reshape(size, -1), np.float32).reshape(suv.shape)


def _sampled(image: Field, lattice: Lattice, voxel_mm: Mm) -> tuple[Field, Lattice]:
    """Linear sampling on other voxels over the same box."""
    sizes = [int(n * s // v) for n, s, v in zip(lattice.shape, lattice.spacing[::-1], voxel_mm[::-1], strict=True)]
    target = Lattice((sizes[0], sizes[1], sizes[2]), voxel_mm)
    ratio = [v / s for v, s in zip(voxel_mm[::-1], lattice.spacing[::-1], strict=True)]
    shift = (target.affine[:3, 3] - lattice.affine[:3, 3])[::-1] / np.array(lattice.spacing[::-1])
    sampled = ndimage.affine_transform(image, ratio, offset=shift, output_shape=target.shape, order=1, mode="nearest")
    return np.asarray(sampled, np.float32), target


def _body_area(body: Body) -> NDArray[np.float64]:
    """Cross-section of the body in each slice, mm2."""
    inside = (body.tissues != Tissue.AIR) & (body.tissues != Tissue.COUCH)
    pixel = body.lattice.spacing[0] * body.lattice.spacing[1]
    return np.asarray(inside.sum(axis=(1, 2)) * pixel, float)


def _noise_by_slice(body: Body, patient: Patient, lattice: Lattice) -> NDArray[np.float32]:
    """Noise of an SUV of 1: more with attenuation, less with dose, duration and scanner quality."""
    area = np.interp(lattice.axes()[0], body.lattice.axes()[0], _body_area(body))
    attenuation = np.exp(0.0062 * np.sqrt(np.maximum(area, 2500) / np.pi))
    acquisition = patient.acquisition
    decayed = acquisition.dose_bq / 200e6 * 2 ** (-acquisition.uptake_min / _F18_HALF_LIFE_MIN)
    counts = decayed * patient.site.pet.bed_s / 120
    return np.asarray(_NOISE * acquisition.noise * attenuation / np.sqrt(counts), np.float32)
