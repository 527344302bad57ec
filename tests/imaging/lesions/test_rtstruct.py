"""RT Structure Sets against voxels found by geometry: boxes, circles and the reference objects' own masks."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import RTStructureSetStorage, generate_uid

from fedpet.core.errors import SeriesNotFoundError, SliceGeometryError, UnreadableStudyError
from fedpet.imaging.lesions.masks import read_mask
from fedpet.imaging.loading import load_study
from fedpet.imaging.volume import Volume

SHAPE, ORIGIN, SPACING = (9, 30, 40), np.array([-40.0, -30.0, 100.0]), np.array([2.0, 2.5, 4.0])


@pytest.fixture
def pet():
    return grid()


def grid(shape=SHAPE, *, spacing=SPACING, origin=ORIGIN):
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = origin
    return Volume(np.zeros(shape, np.float32), affine, "g/ml")


def centres(volume=None):
    """x, y, z of the voxel centres, each of the volume's shape."""
    volume = volume or grid()
    index = np.stack(np.indices(volume.shape)[::-1], axis=-1)
    return np.moveaxis(index @ volume.affine[:3, :3].T + volume.affine[:3, 3], -1, 0)


def height(slice_index):
    return float(ORIGIN[2] + slice_index * SPACING[2])


def box(left, right, front, back, z):
    return [(left, front, z), (right, front, z), (right, back, z), (left, back, z)]


def circle(x, y, radius, z, *, corners=720):
    angle = np.linspace(0, 2 * np.pi, corners, endpoint=False)
    return np.stack([x + radius * np.cos(angle), y + radius * np.sin(angle), np.full(corners, z)], axis=1)


def roi(*contours, name="lesion", kind="", geometry="CLOSED_PLANAR", **tags):
    return SimpleNamespace(contours=contours, name=name, kind=kind, geometry=geometry, tags=tags)


def structure_set(*rois, frame=None, references=()):
    """An RT Structure Set of ROIs, numbered 11, 12, ..."""
    d = Dataset()
    d.SOPClassUID, d.SOPInstanceUID, d.Modality = RTStructureSetStorage, generate_uid(), "RTSTRUCT"
    d.PatientName, d.PatientID = "DUPONT^Jeanne", "HOSP-4711"
    d.StructureSetROISequence, d.ROIContourSequence, d.RTROIObservationsSequence = [], [], []
    for number, one in enumerate(rois, start=11):
        head, body, kind = Dataset(), Dataset(), Dataset()
        head.ROINumber, head.ROIName, head.ReferencedFrameOfReferenceUID = number, one.name, frame
        body.ReferencedROINumber = kind.ReferencedROINumber = number
        kind.RTROIInterpretedType, body.ContourSequence = one.kind, []
        for points in one.contours:
            contour = Dataset()
            contour.ContourGeometricType, contour.NumberOfContourPoints = one.geometry, len(points)
            contour.ContourData = [f"{value:.6g}" for value in np.ravel(points)]
            contour.ContourImageSequence = []
            for uid in references:
                contour.ContourImageSequence.append(Dataset())
                contour.ContourImageSequence[-1].ReferencedSOPInstanceUID = uid
            for keyword, value in one.tags.items():
                setattr(contour, keyword, value)
            body.ContourSequence.append(contour)
        d.StructureSetROISequence.append(head)
        d.ROIContourSequence.insert(0, body)  # the sequences need not have one order
        d.RTROIObservationsSequence.append(kind)
    return d


@pytest.fixture
def read(dicom, tmp_path):
    """Label array of a structure set, through the file."""

    def read(structures, volume=None, **more):
        (tmp_path / "contours").write_bytes(dicom.to_bytes(structures))
        return read_mask(tmp_path / "contours", volume or grid(), **more).labels.array

    return read


@pytest.fixture
def mask(dicom, tmp_path):
    """What `read_mask` makes of a structure set, through the file."""

    def mask(structures, volume=None, **more):
        (tmp_path / "contours").write_bytes(dicom.to_bytes(structures))
        return read_mask(tmp_path / "contours", volume or grid(), **more)

    return mask


def remark(mask):
    """Level and sentence of the check on what was read."""
    (check,) = (check for check in mask.checks if check.name == "mask_read")
    return check.level.value, str(check.reason)


def test_a_voxel_belongs_to_a_contour_if_its_centre_is_inside(read):
    x, y, z = centres()
    labels = read(structure_set(roi(box(-7, 9, -8, 5.1, height(3)), box(-7, 9, -8, 5.1, height(4)))))
    inside = (abs(x - 1) < 8) & (y > -8) & (y < 5.1) & (abs(z - height(3.5)) < 3)
    assert inside.sum() == 2 * 8 * 6
    np.testing.assert_array_equal(labels, inside)


def test_a_circle_holds_the_centres_within_its_radius(read):
    x, y, z = centres()
    labels = read(structure_set(roi(circle(3.3, -2.2, 17.3, height(5)))))
    np.testing.assert_array_equal(labels, (np.hypot(x - 3.3, y + 2.2) < 17.3) & (abs(z - height(5)) < 1))


def test_edges_through_voxel_centres_give_each_voxel_to_one_of_two_neighbours(read):
    """Boxes that share an edge: no voxel twice, none lost; outer edges take on one side and leave on the other."""
    left, right = box(-10, 0, -10, 10, height(2)), box(0, 10, -10, 10, height(2))
    labels = read(structure_set(roi(left), roi(right)))
    assert ((labels == 1).sum(), (labels == 2).sum()) == (5 * 8, 5 * 8)


def test_a_contour_inside_another_is_a_hole_and_one_inside_the_hole_is_not(read):
    x, y, z = centres()
    level = height(4)
    labels = read(structure_set(roi(*(circle(0, 0, radius, level) for radius in (21.7, 5.3, 13.9)))))
    radius = np.hypot(x, y)
    expected = ((radius < 21.7) & (radius > 13.9) | (radius < 5.3)) & (abs(z - level) < 1)
    np.testing.assert_array_equal(labels > 0, expected)


@pytest.mark.parametrize("channel", [-2.5, -1.9])  # through voxel centres, and between them
def test_a_keyhole_is_a_hole_and_its_channel_takes_no_voxel(read, channel):
    x, y, z = centres()
    level = height(4)
    outer, hole = box(-17, 17, -16, 16, level), box(5, 11, -7, 8, level)
    channel_in, channel_out = [(-17, channel, level), (5, channel, level)], [(5, channel, level), (-17, channel, level)]
    keyhole = [*channel_in, *reversed(hole), *channel_out, *outer]
    labels = read(structure_set(roi(keyhole)))
    inside = (abs(x) < 17) & (abs(y) < 16) & ~((x > 5) & (x < 11) & (y > -7) & (y < 8)) & (abs(z - level) < 1)
    np.testing.assert_array_equal(labels > 0, inside)


def test_contours_between_the_slices_of_the_pet_go_to_the_centres_in_their_slab(read):
    """Drawn every 3 mm on a CT; PET slices every 4 mm: each takes the contour that is nearest."""
    levels = 103.2 + 3.0 * np.arange(7)  # slabs reach from 101.7 to 122.7
    radii = [8.1, 10.3, 12.2, 14.4, 12.2, 10.3, 8.1]
    labels = read(structure_set(roi(*(circle(0, 0, r, z) for r, z in zip(radii, levels, strict=True)))))
    x, y, _ = centres()
    expected = np.zeros(SHAPE, bool)
    for k in range(SHAPE[0]):
        nearest = np.argmin(abs(levels - height(k)))
        if 101.7 <= height(k) < 122.7:
            expected[k] = np.hypot(x, y)[k] < radii[nearest]
    assert expected.any(axis=(1, 2)).tolist() == [False, True, True, True, True, True, False, False, False]
    np.testing.assert_array_equal(labels > 0, expected)


def test_a_contour_half_way_between_two_slices_belongs_to_one_of_them(read):
    levels = [height(2.5), height(3.5), height(4.5)]
    labels = read(structure_set(roi(*(box(-7, 9, -8, 6, z) for z in levels))))
    assert np.count_nonzero(labels.any(axis=(1, 2))) == 3


def test_planes_without_contour_stay_empty(read):
    """Two lesions in one ROI: the space between them is not filled."""
    drawn = [1, 2, 5, 6, 8]
    labels = read(structure_set(roi(*(box(-7, 9, -8, 6, height(k)) for k in drawn))))
    assert np.flatnonzero(labels.any(axis=(1, 2))).tolist() == drawn


def test_every_second_slice_alone_is_not_taken_for_thick_slices_where_the_images_are_named(dicom, read, tmp_path):
    slices = dicom.pet(np.ones(SHAPE), spacing=tuple(SPACING), origin=tuple(ORIGIN))
    study = load_study(dicom.save(slices, tmp_path / "pet"), pseudonym_key=b"key")
    contours = [box(-7, 9, -8, 6, height(k)) for k in (2, 4, 6)]
    structures = structure_set(roi(*contours), references=[slices[2].SOPInstanceUID])
    assert np.flatnonzero(read(structures, study=study).any(axis=(1, 2))).tolist() == [2, 4, 6]


def test_contours_across_the_pet_are_filled_in_their_own_plane(read):
    """Sagittal contours 2 mm apart, on the columns of the PET."""
    x, y, z = centres()
    contours = [[(left, b, c) for b, c, _ in box(-11, 8, 106, 123, 0)] for left in (4.0, 6.0, 8.0)]
    labels = read(structure_set(roi(*contours)))
    expected = (x >= 3.9) & (x <= 8.1) & (y > -11) & (y < 8) & (z > 106) & (z < 123)
    np.testing.assert_array_equal(labels > 0, expected)


def test_contours_drawn_on_a_tilted_ct_are_filled_in_their_tilted_planes(read):
    """A gantry tilted by 20 degrees; a box in its own axes, planes 1.5 mm apart."""
    tilt = np.deg2rad(20)
    down, along = np.array([0, np.cos(tilt), -np.sin(tilt)]), np.array([0, np.sin(tilt), np.cos(tilt)])
    middle = np.array([0.3, 1.1, 115.7])
    levels = 1.5 * np.arange(-6, 7)
    corners = [(-9.2, -7.1), (11.3, -7.1), (11.3, 8.4), (-9.2, 8.4)]
    contours = [[middle + a * np.array([1, 0, 0]) + b * down + level * along for a, b in corners] for level in levels]
    labels = read(structure_set(roi(*contours)))
    offset = np.moveaxis(centres(), 0, -1) - middle
    a, b, level = offset[..., 0], offset @ down, offset @ along
    expected = (a > -9.2) & (a < 11.3) & (b > -7.1) & (b < 8.4) & (abs(level) < 9.75)
    assert expected.sum() > 200
    np.testing.assert_array_equal(labels > 0, expected)


def test_what_was_drawn_twice_counts_once_and_is_said(mask):
    """The second time from another point, backwards, closed, and rounded."""
    drawn = [box(-7, 9, -8, 6, height(k)) for k in (3, 4, 5)]
    again = [np.array([*drawn[0][2:], *drawn[0][:2], drawn[0][2]])[::-1] + 4e-5, drawn[2]]
    once, twice = mask(structure_set(roi(*drawn))), mask(structure_set(roi(*drawn, *again, name="Mass")))
    np.testing.assert_array_equal(twice.labels.array, once.labels.array)
    assert (twice.audit.planes, twice.audit.contours, twice.audit.duplicates) == (3, 3, 2)
    assert once.audit.duplicates == 0
    assert remark(once)[0] == "pass"
    assert remark(twice) == ("warn", "Contours drawn twice, counted once: Mass (2).")


def test_every_item_of_contours_of_a_region_counts_and_one_of_no_region_is_said(mask):
    low, high = ([box(-7, 9, -8, 6, height(k)) for k in planes] for planes in ((3, 4), (5, 6)))
    whole = mask(structure_set(roi(*low, *high)))
    parts = structure_set(roi(*low), roi(*high))
    parts.ROIContourSequence[0].ReferencedROINumber = 11
    np.testing.assert_array_equal(mask(parts).labels.array, whole.labels.array)
    parts.ROIContourSequence[0].ReferencedROINumber = 77
    assert mask(parts).audit.left_out == ("ROI 77",)
    assert "Not taken for lesions: ROI 77" in remark(mask(parts))[1]


def test_contours_that_overlap_in_part_are_one_region_with_a_warning(mask):
    x, y, z = centres()
    crossed = mask(structure_set(roi(box(-11, 5, -8, 6, height(4)), box(-3, 13, -4, 10, height(4)))))
    inside = ((x > -11) & (x < 5) & (y > -8) & (y < 6)) | ((x > -3) & (x < 13) & (y > -4) & (y < 10))
    np.testing.assert_array_equal(crossed.labels.array > 0, inside & (abs(z - height(4)) < 1))
    assert crossed.audit.overlapping == 2
    assert remark(crossed) == ("warn", "Contours that overlap in part, taken together: lesion (2).")


def test_xor_contours_take_away_what_two_of_them_share(mask):
    x, y, z = centres()
    drawn = roi(box(-11, 5, -8, 6, height(4)), box(-3, 13, -4, 10, height(4)), geometry="CLOSEDPLANAR_XOR")
    inside = ((x > -11) & (x < 5) & (y > -8) & (y < 6)) ^ ((x > -3) & (x < 13) & (y > -4) & (y < 10))
    read = mask(structure_set(drawn))
    np.testing.assert_array_equal(read.labels.array > 0, inside & (abs(z - height(4)) < 1))
    assert read.audit.regions[0].exclusive
    assert remark(read)[0] == "pass"


def test_open_contours_points_and_lines_are_named(mask):
    drawn = [roi(box(-7, 9, -8, 6, height(3)), name="Mass"), roi(box(-7, 9, -8, 6, height(7)), geometry="OPEN_PLANAR")]
    structures = structure_set(*drawn, roi([(0, 0, height(6))], geometry="POINT", name="POI"))
    mass = structures.ROIContourSequence[-1].ContourSequence
    for points in (box(-7, 9, -8, 6, height(4))[:1], box(-7, 9, -8, 6, height(4))[:2]):
        mass.append(Dataset())
        mass[-1].ContourGeometricType, mass[-1].ContourData = "CLOSED_PLANAR", [str(v) for v in np.ravel(points)]
    for geometry, points in (("CLOSED_PLANAR", [(0, 0, height(5))] * 4), ("", box(0, 9, 0, 6, height(5)))):
        mass.append(Dataset())
        mass[-1].ContourGeometricType, mass[-1].ContourData = geometry, [str(v) for v in np.ravel(points)]
    read = mask(structures)
    assert read.audit.dropped == 5
    assert read.audit.regions[0].dropped_kinds == {"UNDER_3_POINTS": 3, "UNKNOWN": 1}
    assert read.audit.regions[1].dropped_kinds == {"OPEN_PLANAR": 1}
    assert read.audit.left_out == ("POI",)
    level, said = remark(read)
    assert level == "warn"
    assert "Not used, open planar contours: lesion (1)." in said
    assert "Not used, closed contours of fewer than three points: Mass (3)." in said
    assert "Not on the PET, and not measured: lesion" in said


def test_planes_without_a_contour_between_two_with_one_are_said(mask):
    cut = mask(structure_set(roi(*(box(-7, 9, -8, 6, height(k)) for k in (1, 2, 4, 5, 8)))))
    assert (cut.audit.planes, cut.audit.empty_planes, cut.audit.regions[0].gaps) == (5, 3, 3)
    assert remark(cut) == ("warn", "Planes without a contour between two with one, left empty: lesion (3).")
    beside = mask(
        structure_set(roi(*(box(x, x + 9, -8, 6, height(k)) for x, k in ((-30, 1), (-30, 2), (7, 6), (7, 7)))))
    )
    assert (beside.audit.empty_planes, beside.audit.regions[0].gaps) == (3, 0)
    assert remark(beside)[0] == "pass"
    assert "Empty planes between drawn ones, left empty: 3." in remark(beside)[1]


def test_a_gap_in_one_lesion_is_said_where_another_fills_the_plane(mask):
    left = [box(-30, -20, -8, 6, height(k)) for k in (2, 3, 5, 6)]
    right = [box(7, 19, -8, 6, height(k)) for k in (2, 3, 4, 5, 6)]
    read = mask(structure_set(roi(*left, *right)))
    assert (read.audit.empty_planes, read.audit.regions[0].gaps) == (0, 1)


def test_regions_that_overlap_or_vanish_are_said(mask):
    """A region within one voxel holds no centre; one that is drawn over another keeps its voxels."""
    large, small = roi(box(-20, 20, -20, 20, height(4)), name="A"), roi(box(-5, 5, -6, 6, height(4)), name="B")
    speck = roi(box(20.6, 21.4, 0.2, 1.4, height(4)), name="C")
    read = mask(structure_set(large, small, speck))
    assert [region.ml > 0 for region in read.audit.regions] == [True, True, False]
    assert read.audit.overlap_ml == pytest.approx(read.audit.regions[1].ml)
    assert "Not on the PET, and not measured: C" in remark(read)[1]
    assert "are drawn in two regions" in remark(read)[1]


def test_the_audit_holds_the_volume_as_drawn_and_on_the_pet(mask):
    drawn = roi(*(circle(0, 0, 14, height(k)) for k in (2, 3, 4)), *(circle(0, 0, 6, height(k)) for k in (2, 3, 4)))
    read = mask(structure_set(drawn))
    assert read.audit.holes == 3
    assert read.audit.drawn_ml == pytest.approx(np.pi * (14**2 - 6**2) * 12 / 1000, rel=0.01)
    assert read.audit.ml == pytest.approx((read.labels.array > 0).sum() * 0.02, abs=1e-3)
    assert "Holes: 3." in remark(read)[1]


def test_a_contour_that_lost_points_is_said(mask):
    structures = structure_set(roi(*(circle(0, 0, 14, height(k)) for k in (2, 3)), name="Mass"))
    structures.ROIContourSequence[0].ContourSequence[1].NumberOfContourPoints = 1000
    assert remark(mask(structures)) == (
        "warn", "Contours that announce another number of points than they hold: Mass (1).",
    )  # fmt: skip


def test_an_offset_moves_the_slab(mask):
    """Contour Offset Vector (PS3.3 C.8.8.6.2): the middle of the slab, from the points."""
    moved = mask(structure_set(roi(box(-7, 9, -8, 6, height(3)), ContourOffsetVector=[0, 0, 8])))
    assert np.flatnonzero(moved.labels.array.any(axis=(1, 2))).tolist() == [5]


def test_the_patients_name_never_travels_with_a_region(mask):
    read = mask(
        structure_set(
            roi(box(-7, 9, -8, 6, height(3)), name="DUPONT lung", kind="GTV"),
            roi(box(-7, 9, -8, 6, height(5)), name="PTV HOSP-4711", kind="PTV"),
        )
    )
    assert read.audit.regions[0].name == "*** lung"
    assert read.audit.left_out == ("PTV ***",)
    assert "Not taken for lesions: PTV ***." in remark(read)[1]


@pytest.mark.parametrize("flat", [0, 1])
def test_sagittal_and_coronal_contours_on_the_images_they_name(dicom, mask, tmp_path, flat):
    """The slices named are axial: the distance of the planes is that of the PET's columns or rows."""
    slices = dicom.pet(np.ones(SHAPE), spacing=tuple(SPACING), origin=tuple(ORIGIN))
    study = load_study(dicom.save(slices, tmp_path / "pet"), pseudonym_key=b"key")
    levels = ORIGIN[flat] + SPACING[flat] * np.array([12, 13, 14])
    contours = [np.insert(np.array(box(-11, 8, 106, 123, 0))[:, :2], flat, level, axis=1) for level in levels]
    read = mask(structure_set(roi(*contours), references=[slices[0].SOPInstanceUID]), study=study)
    across, z = centres()[1 - flat], centres()[2]
    expected = (across > -11) & (across < 8) & (z > 106) & (z < 123)
    expected &= abs(centres()[flat] - levels[1]) < 1.5 * SPACING[flat]
    np.testing.assert_array_equal(read.labels.array > 0, expected)
    assert remark(read)[0] == "pass"


def test_points_and_open_contours_are_ignored(read):
    closed = roi(box(-7, 9, -8, 6, height(3)))
    point = roi([(0, 0, height(6))], geometry="POINT")
    line = roi(box(-7, 9, -8, 6, height(7)), geometry="OPEN_PLANAR")
    np.testing.assert_array_equal(read(structure_set(point, closed, line)), read(structure_set(closed)))
    with pytest.raises(UnreadableStudyError, match=r"No region of the mask has an area.*open planar contours \(1\)"):
        read(structure_set(point, line))
    with pytest.raises(UnreadableStudyError, match="Nothing is drawn"):
        read(structure_set(point))


def test_regions_are_numbered_in_the_order_of_the_object(read):
    labels = read(structure_set(roi(box(-30, -20, -8, 6, height(6))), roi(box(7, 19, -8, 6, height(3)))))
    assert labels[6].max() == 1
    assert labels[3].max() == 2


def test_one_region_is_split_into_its_lesions_largest_first(read):
    labels = read(structure_set(roi(box(-30, -20, -8, 6, height(6)), box(7, 19, -8, 6, height(3)))))
    assert labels[6].max() == 2
    assert labels[3].max() == 1


def test_of_overlapping_regions_the_smaller_is_kept_whole(read):
    small, large = roi(box(-5, 5, -6, 6, height(4))), roi(*(box(-20, 20, -20, 20, height(k)) for k in (3, 4, 5)))
    labels = read(structure_set(large, small))
    np.testing.assert_array_equal(labels == 2, read(structure_set(small)) > 0)
    np.testing.assert_array_equal(labels > 0, read(structure_set(large)) > 0)


@pytest.mark.parametrize(
    ("kinds", "taken"),
    [
        (["EXTERNAL", "GTV", "ORGAN", "GTV"], [1, 3]),
        (["GTV", "CTV", "PTV"], [0]),
        (["CTV", "PTV", ""], [0, 2]),
        (["PTV", "AVOIDANCE"], [0]),
        (["", "", "SUPPORT"], [0, 1]),
        (["ORGAN", "ORGAN", "EXTERNAL"], [0, 1]),  # some workstations call every region an organ
    ],
)
def test_lesions_are_taken_and_organs_outlines_and_margins_are_not(read, kinds, taken):
    rois = [roi(box(-30, -20, -8, 6, height(k + 1)), kind=kind) for k, kind in enumerate(kinds)]
    labels = read(structure_set(*rois))
    assert np.flatnonzero(labels.any(axis=(1, 2))).tolist() == [k + 1 for k in taken]


def test_an_outline_of_the_body_without_a_type_is_left_out(read):
    labels = read(structure_set(roi(box(-39, 38, -29, 40, height(1)), name="BODY"), roi(box(-5, 5, -6, 6, height(4)))))
    assert np.flatnonzero(labels.any(axis=(1, 2))).tolist() == [4]


def test_regions_are_chosen_by_name_in_any_case(read):
    rois = [roi(box(-5, 5, -6, 6, height(k)), name=f"Mass {k}", kind="ORGAN" if k == 2 else "GTV") for k in (2, 4, 6)]
    labels = read(structure_set(*rois), rois=["mass 2", "MASS 6 "])
    assert np.flatnonzero(labels.any(axis=(1, 2))).tolist() == [2, 6]
    rois[0].name = "Dupont node"
    with pytest.raises(SeriesNotFoundError) as refusal:
        read(structure_set(*rois), rois=["Mass 2"])
    assert "It holds: *** node, Mass 4, Mass 6." in str(refusal.value.found)


def test_another_frame_of_reference_is_refused_unless_the_pets_images_are_named(dicom, read, tmp_path):
    slices = dicom.pet(np.ones(SHAPE), spacing=tuple(SPACING), origin=tuple(ORIGIN))
    study = load_study(dicom.save(slices, tmp_path / "pet"), pseudonym_key=b"key")
    drawn = roi(box(-7, 9, -8, 6, height(3)))
    here = read(structure_set(drawn, frame=dicom.FRAME), study=study)
    with pytest.raises(SliceGeometryError, match="another examination"):
        read(structure_set(drawn, frame=generate_uid()), study=study)
    named = structure_set(drawn, frame=generate_uid(), references=[slices[0].SOPInstanceUID])
    np.testing.assert_array_equal(read(named, study=study), here)
    np.testing.assert_array_equal(read(structure_set(drawn), study=study), here)  # none told: the overlap does


@pytest.fixture
def given(dicom, mask, tmp_path):
    """What `read_mask` makes of a box in the frame of reference of a PET whose mask states these attributes."""
    slices = dicom.pet(np.ones(SHAPE), spacing=tuple(SPACING), origin=tuple(ORIGIN), PatientBirthDate="19600102")
    study = load_study(dicom.save(slices, tmp_path / "pet"), pseudonym_key=b"key")

    def given(references=(), **attributes):
        structures = structure_set(roi(box(-7, 9, -8, 6, height(3))), frame=dicom.FRAME, references=references)
        for keyword, value in attributes.items():
            setattr(structures, keyword, value)
        return mask(structures, study=study)

    return given


@pytest.mark.parametrize(
    ("attributes", "differing"),
    [
        ({"PatientID": "HOSP-4712"}, "different identifiers"),
        ({"PatientName": "MARTIN^Paule"}, "different names"),
        ({"PatientBirthDate": "19710203"}, "different birth dates"),
        ({"PatientSex": "M"}, "different sexes"),
        ({"PatientID": "", "PatientName": "MARTIN^Paule", "PatientBirthDate": "19710203"}, "names, different birth"),
    ],
)
def test_a_mask_of_another_patient_in_the_same_frame_of_reference_is_refused(given, attributes, differing):
    with pytest.raises(SeriesNotFoundError, match=differing) as refusal:
        given(**attributes)
    assert not {"4711", "4712", "DUPONT", "MARTIN"} & set(str(refusal.value).replace("-", " ").split())


@pytest.mark.parametrize(
    "attributes",
    [
        {"PatientID": "hosp 4711", "PatientName": "Dupont^JEANNE^Marie", "PatientBirthDate": "1960.01.02"},
        {"PatientID": "", "PatientName": "", "PatientBirthDate": ""},
        {"PatientID": "UNKNOWN", "PatientSex": "O"},
    ],
)
def test_other_spellings_of_a_patient_and_what_a_mask_leaves_out_contradict_nothing(given, attributes):
    assert [check.name for check in given(**attributes).checks] == ["mask_read"]


def origin(mask):
    """Level and sentence of the check on the examination of a mask; None where nothing is doubtful."""
    return next(((c.level.value, str(c.reason)) for c in mask.checks if c.name == "mask_origin"), None)


def test_a_mask_that_names_another_study_alone_or_is_de_identified_alone_is_a_warning(dicom, given):
    other, image = generate_uid(), dicom.pet(np.ones(SHAPE))[0].SOPInstanceUID
    assert origin(given(StudyInstanceUID=dicom.pet(np.ones((5, 5, 5)))[0].StudyInstanceUID)) is None
    assert origin(given([image], StudyInstanceUID=other)) is None  # drawn on our images, kept in a study of its own
    for doubtful in (given(StudyInstanceUID=other), given([generate_uid()])):
        level, said = origin(doubtful)
        assert level == "warn"
        assert "names another study" in said
    level, said = origin(given(PatientID="A-1", PatientName="", PatientIdentityRemoved="YES"))
    assert (level, "one alone is de-identified" in said) == ("warn", True)


def test_a_contour_that_crosses_itself_is_named_with_its_plane(mask):
    bow, good = box(-7, 9, -8, 6, height(3)), box(-7, 9, -8, 6, height(4))
    crossed = mask(structure_set(roi([bow[0], bow[2], bow[1], bow[3]], good, name="Mass")))
    level, said = remark(crossed)
    assert level == "warn"
    assert f"Contours that cross themselves: Mass (z {height(3):.1f} mm)." in said
    noise = np.random.default_rng(5)
    for _ in range(20):  # uneven outlines that do not cross, rounded as files are
        outline = circle(0, 0, noise.uniform(6, 20), height(4), corners=90) * (1 + 0.2 * np.sin(noise.uniform(2, 6)))
        outline[:, 2] = height(4)
        assert remark(mask(structure_set(roi(np.round(outline, 1)))))[0] == "pass"


def test_contours_beside_the_pet_are_refused(read):
    with pytest.raises(SliceGeometryError, match="No voxel of the mask"):
        read(structure_set(roi(box(-7, 9, -8, 6, 700.0))))


@pytest.mark.parametrize("data", [["1", "2"], ["x"] * 9, ["nan"] * 9, ["1"] * 8 + ["inf"]])
def test_damaged_contours_are_refused(read, data):
    structures = structure_set(roi(box(-7, 9, -8, 6, height(3))))
    element = structures.ROIContourSequence[0].ContourSequence[0]["ContourData"]
    element._value = data
    with pytest.raises(UnreadableStudyError, match="damaged"):
        read(structures)


def test_contours_that_are_not_planar_are_refused(read):
    bent = box(-7, 9, -8, 6, height(3))
    bent[0] = (-7, -8, height(5))
    with pytest.raises(UnreadableStudyError, match="parallel planes"):
        read(structure_set(roi(bent, box(-7, 9, -8, 6, height(4)))))


def test_an_empty_structure_set_is_refused(read):
    with pytest.raises(UnreadableStudyError, match="Nothing is drawn"):
        read(structure_set())


def test_a_structure_set_is_found_among_the_images_and_in_an_archive(dicom, pet, tmp_path):
    slices = dicom.pet(np.ones(SHAPE), spacing=tuple(SPACING), origin=tuple(ORIGIN))
    folder = dicom.save(slices, tmp_path / "study")
    content = dicom.to_bytes(structure_set(roi(box(-7, 9, -8, 6, height(3)))))
    (folder / "RS").write_bytes(content)
    expected = read_mask(folder / "RS", pet).labels.array
    np.testing.assert_array_equal(read_mask(folder, pet).labels.array, expected)
    archive = dicom.zipped([(path.name, path.read_bytes()) for path in folder.iterdir()], tmp_path / "study.zip")
    np.testing.assert_array_equal(read_mask(archive, pet).labels.array, expected)
    (folder / "RS2").write_bytes(content)
    with pytest.raises(UnreadableStudyError, match=r"2 DICOM SEG or RT Structure Sets"):
        read_mask(folder, pet)


def test_images_without_a_mask_are_refused(dicom, pet, tmp_path):
    folder = dicom.save(dicom.pet(np.ones(SHAPE)), tmp_path / "study")
    with pytest.raises(UnreadableStudyError, match="0 DICOM SEG or RT Structure Sets"):
        read_mask(folder, pet)


@pytest.mark.reference_data
@pytest.mark.parametrize(
    "name", ["DRO_0_0", "DRO_1_0", "DRO_2_0", "DRO_2_4", "DRO_3_0", "DRO_3_1", "DRO_4_1", "DRO_5_0"]
)
def test_the_contours_of_the_reference_objects_hold_their_published_suv(reference_data, name):
    folder = reference_data / "dro" / name
    study = load_study(folder / "PT", pseudonym_key=b"key", require="images")  # DRO_5_0 is not FDG
    inside = study.pet.array[read_mask(folder / "RS", study.pet, study=study).labels.array > 0]
    np.testing.assert_allclose([inside.min(), np.median(inside), inside.max()], [0.2, 1, 4], atol=0.01)


@pytest.mark.reference_data
@pytest.mark.parametrize("name", ["STS_002", "STS_008", "STS_042"])
def test_the_contours_of_real_sarcomas_are_their_masks(reference_data, name):
    """Drawn on the PET: the very voxels of the published mask; drawn on the CT: within 3 % of them."""
    folder = reference_data / "sts" / name
    study = load_study(folder / "PET" / "image", pseudonym_key=b"key")
    mask = read_mask(folder / "nifti" / "PET_mask.nii.gz", study.pet).labels.array > 0
    on_pet, on_ct = (
        read_mask(folder / m / "mask" / "RS.dcm", study.pet, study=study).labels.array > 0 for m in ("PET", "CT")
    )
    np.testing.assert_array_equal(on_pet, mask)
    assert np.count_nonzero(on_ct ^ mask) <= 0.03 * mask.sum()
    assert study.pet.array[on_ct].max() == study.pet.array[mask].max()


@pytest.mark.reference_data
def test_the_contours_of_another_patient_are_refused(reference_data):
    study = load_study(reference_data / "sts" / "STS_002" / "PET" / "image", pseudonym_key=b"key")
    with pytest.raises(SeriesNotFoundError, match="another patient than the images: different identifiers"):
        read_mask(reference_data / "sts" / "STS_008" / "PET" / "mask" / "RS.dcm", study.pet, study=study)
