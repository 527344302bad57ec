from __future__ import annotations

import numpy as np
import pytest

from fedpet.imaging.mip import rotating_mip
from fedpet.imaging.volume import Volume


def spot(x, y, z, *, flipped=False):
    """One hot voxel at a place in mm within a cube of 41 voxels of 4 mm about the origin."""
    axes = np.diag([-4.0, -4.0, -4.0, 1.0]) if flipped else np.diag([4.0, 4.0, 4.0, 1.0])
    axes[:3, 3] = 80 if flipped else -80
    volume = Volume(np.zeros((41, 41, 41), np.float32), axes, "g/ml")
    volume.array[tuple(np.rint(volume.to_index(np.array([x, y, z], float))).astype(int))] = 7.0
    return volume


def brightest(frame):
    """(mm above the centre, mm to the right of the centre) of the brightest pixel."""
    row, column = np.unravel_index(frame.argmax(), frame.shape)
    height, width = frame.shape
    return (height - 1) / 2 - row, column - (width - 1) / 2


@pytest.mark.parametrize("flipped", [False, True])
def test_from_the_front_the_patients_left_is_on_the_right_and_the_head_is_up(flipped):
    frames = rotating_mip(spot(40, 0, 60, flipped=flipped), frames=4)
    assert frames.dtype == np.float32
    assert frames.max() == 7.0
    up, right = brightest(frames[0])
    assert up == 15
    assert right == pytest.approx(10, abs=0.5)


@pytest.mark.parametrize(("frame", "expected"), [(0, 0), (1, 10), (2, 0), (3, -10)])
def test_a_quarter_turn_later_the_patient_faces_left(frame, expected):
    """A spot at the back: hidden behind the middle from the front, on the right when seen from the patient's left."""
    frames = rotating_mip(spot(0, 40, 0), frames=4)
    assert brightest(frames[frame])[1] == pytest.approx(expected, abs=0.5)
    assert frames[frame].max() == 7.0  # a projection never hides


def test_height_and_width_in_pixels_of_the_spacing_asked():
    volume = Volume(np.ones((50, 20, 30), np.float32), np.diag([3.0, 3.0, 4.0, 1.0]), "g/ml")
    frames = rotating_mip(volume, frames=3, spacing_mm=2.0)
    assert frames.shape == (3, 99, int(np.ceil(np.hypot(29, 44))))
