from __future__ import annotations

import numpy as np
import pytest

from fedpet.imaging.anatomy.pet_only import body_bounds
from fedpet.imaging.volume import Volume


@pytest.mark.parametrize(("unit", "scale"), [("g/ml", 1.0), ("stored", 1000.0)])
def test_the_bounds_of_the_body_leave_the_air_around_it_out(unit, scale):
    uptake = np.full((60, 60, 60), 0.1 if unit == "g/ml" else 0.01, np.float32)
    uptake[20:30, 25:41, 28:44] = 1.0
    uptake[5, 5, 5] = 1.0  # noise: less than 1 cm2
    low, high = body_bounds(Volume(scale * uptake, np.diag([5.0, 5.0, 5.0, 1.0]), unit))
    assert low == pytest.approx([140 - 20, 125 - 20, 100 - 20])
    assert high == pytest.approx([215 + 20, 200 + 20, 145 + 20])


def test_without_uptake_the_bounds_are_those_of_the_image():
    low, high = body_bounds(Volume(np.zeros((3, 4, 5), np.float32), np.diag([10.0, 10.0, 10.0, 1.0]), "g/ml"))
    assert (low, high) == ([0.0, 0.0, 0.0], [40.0, 30.0, 20.0])
