"""DICOM SEG as highdicom writes it, an implementation of its own, against the voxels that were drawn."""

from __future__ import annotations

import highdicom as hd
import numpy as np
import pydicom
import pytest
from highdicom.sr.coding import CodedConcept
from pydicom.uid import ExplicitVRLittleEndian, JPEGLSLossless, RLELossless, generate_uid

from fedpet.core.errors import SeriesNotFoundError, SliceGeometryError, UnreadableStudyError
from fedpet.imaging.lesions.masks import read_mask
from fedpet.imaging.loading import load_study
from fedpet.imaging.volume import Volume

SHAPE = (9, 14, 13)  # 182 pixels in a frame: no multiple of 8, so bit-packed frames begin within a byte
ORIGIN, SPACING = (-20.0, -25.0, 100.0), (4.0, 3.0, 3.5)
ALTERED = CodedConcept("49755003", "SCT", "Morphologically Abnormal Structure")
ANATOMY = CodedConcept("123037004", "SCT", "Anatomical Structure")
LESION = CodedConcept("52988006", "SCT", "Lesion")


def volume(shape=SHAPE, *, spacing=SPACING, origin=ORIGIN):
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = origin
    return Volume(np.zeros(shape, np.float32), affine, "g/ml")


@pytest.fixture
def pet():
    return volume()


@pytest.fixture
def source(dicom):
    """Slices to draw on, with the attributes that a SEG copies from them."""

    def build(shape=SHAPE, *, spacing=SPACING, origin=ORIGIN, make=dicom.pet, **tags):
        slices = make(np.ones(shape), spacing=spacing, origin=origin, **tags)
        for one in slices:
            dicom.to_bytes(one)
            one.PatientBirthDate = one.AccessionNumber = one.StudyID = one.ReferringPhysicianName = ""
        return slices

    return build


def segmented(slices, masks, kind="BINARY", *, categories=(), syntax=ExplicitVRLittleEndian, **more):
    """A SEG by highdicom of masks (segments, slices, rows, columns), or of label numbers for a label map."""
    label_map = kind == "LABELMAP"
    descriptions = [
        hd.seg.SegmentDescription(
            number,
            f"Region {number}",
            segmented_property_category=dict(categories).get(number, ALTERED),
            segmented_property_type=LESION,
            algorithm_type="MANUAL",
        )
        for number in range(1, (int(masks.max()) if label_map else len(masks)) + 1)
    ]
    return hd.seg.Segmentation(
        slices,
        masks.astype(np.uint8) if label_map else np.moveaxis(masks, 0, -1),
        kind,
        descriptions,
        series_instance_uid=generate_uid(),
        series_number=9,
        sop_instance_uid=generate_uid(),
        instance_number=1,
        manufacturer="M",
        manufacturer_model_name="M",
        software_versions="1",
        device_serial_number="1",
        transfer_syntax_uid=syntax,
        **more,
    )


def boxes(*places, shape=SHAPE):
    masks = np.zeros((len(places), *shape), np.uint8)
    for mask, place in zip(masks, places, strict=True):
        mask[place] = 1
    return masks


TWO = boxes(np.s_[1:3, 2:5, 2:6], np.s_[5:8, 7:12, 3:5])
NUMBERED = TWO[0] + 2 * TWO[1]


def read(seg, folder, pet, **more):
    seg.save_as(folder / "drawn by the reader")  # no extension: the content tells what it is
    return read_mask(folder / "drawn by the reader", pet, **more).labels


def test_binary_segments_keep_their_numbers_and_their_place(pet, source, tmp_path):
    labels = read(segmented(source(), TWO), tmp_path, pet)
    assert labels.array.dtype == np.uint16
    np.testing.assert_array_equal(labels.array, NUMBERED)
    np.testing.assert_array_equal(labels.affine, pet.affine)


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, RLELossless, JPEGLSLossless])
@pytest.mark.parametrize("kind", ["PROBABILITY", "OCCUPANCY"])
def test_a_fractional_segment_is_where_it_reaches_half(pet, source, tmp_path, syntax, kind):
    masks = TWO[:1].astype(float)
    masks[0, 1, 2, 2:6] = [0.1, 0.49, 0.5, 0.51]
    seg = segmented(source(), masks, "FRACTIONAL", syntax=syntax, fractional_type=kind, max_fractional_value=100)
    np.testing.assert_array_equal(read(seg, tmp_path, pet).array, masks[0] >= 0.5)


def test_a_fractional_segment_that_reaches_half_nowhere_is_refused_with_its_highest_value(pet, source, tmp_path):
    masks = TWO[:1] * 0.4
    seg = segmented(source(), masks, "FRACTIONAL", fractional_type="OCCUPANCY", max_fractional_value=200)
    with pytest.raises(UnreadableStudyError, match="80 of 200 at most"):
        read(seg, tmp_path, pet)


def test_the_audit_names_segments_planes_volumes_gaps_and_what_is_left_out(pet, source, tmp_path):
    masks = boxes(np.s_[[1, 2, 4], 2:5, 2:6], np.s_[5:8, 7:12, 3:5], np.s_[2:4, 2:4, 8:12])
    seg = segmented(source(), masks, categories={3: ANATOMY}, omit_empty_frames=True)
    seg.SegmentSequence[0].SegmentLabel = "Dupont mass"
    seg.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].SpacingBetweenSlices = SPACING[2]
    seg.save_as(tmp_path / "seg")
    mask = read_mask(tmp_path / "seg", pet)
    first, second = mask.audit.regions
    assert (first.name, first.planes, first.empty_planes, first.gaps) == ("*** mass", 3, 1, 1)
    assert first.drawn_ml == pytest.approx(36 * np.prod(SPACING) / 1000)
    assert second.ml == pytest.approx(30 * np.prod(SPACING) / 1000)
    assert mask.audit.left_out == ("Region 3",)
    (check,) = mask.checks
    assert (check.name, check.level.value) == ("mask_read", "warn")
    assert "*** mass (1)" in str(check.reason)


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, RLELossless])
def test_a_label_map_is_read(pet, source, tmp_path, syntax):
    seg = segmented(source(), NUMBERED, "LABELMAP", syntax=syntax)
    np.testing.assert_array_equal(read(seg, tmp_path, pet).array, NUMBERED)


def test_one_segment_is_split_into_its_lesions_largest_first(pet, source, tmp_path):
    labels = read(segmented(source(), (NUMBERED > 0)[None].astype(np.uint8)), tmp_path, pet)
    np.testing.assert_array_equal(labels.array, np.array([0, 2, 1])[NUMBERED])  # 24 voxels and 30


def test_what_was_drawn_on_the_ct_is_sampled_at_the_centres_of_the_pet(pet, source, dicom, tmp_path):
    """Against the nearest CT voxel of each PET centre, by hand: other pixel size, slice spacing and origin."""
    shape, spacing, origin = (20, 41, 45), (1.3, 1.1, 1.7), (-22.0, -26.5, 99.3)
    drawn = np.zeros((2, *shape), np.uint8)
    drawn[0, 3:9, 10:22, 4:30], drawn[1, 12:18, 25:37, 20:41] = 1, 1
    labels = read(segmented(source(shape, spacing=spacing, origin=origin, make=dicom.ct), drawn), tmp_path, pet)
    expected = np.zeros(SHAPE, int)
    for place in np.ndindex(SHAPE):
        mm = np.array(ORIGIN) + np.array(place[::-1]) * SPACING
        nearest = np.rint((mm - origin) / spacing).astype(int)[::-1]
        if (nearest >= 0).all() and (nearest < shape).all():
            expected[place] = drawn[0][tuple(nearest)] + 2 * drawn[1][tuple(nearest)]
    assert (np.bincount(expected.ravel()) > 20).all()
    np.testing.assert_array_equal(labels.array, expected)


def test_frames_across_the_pet_are_placed_where_they_lie(source, tmp_path):
    """A PET whose slices are the columns of the image drawn on."""
    affine = volume().affine[:, [2, 1, 0, 3]]  # its (column, row, slice) run along head, back and left
    labels = read(segmented(source(), TWO), tmp_path, Volume(np.zeros(SHAPE[::-1], np.float32), affine, "g/ml"))
    np.testing.assert_array_equal(labels.array, NUMBERED.transpose(2, 1, 0))


def test_jittered_planes_fall_on_their_slices(pet, source, tmp_path):
    """Slices 3.19 to 3.29 mm apart are seen; the PET's own grid is regular."""
    slices = source()
    for one, shift in zip(slices, [0, 0.1, -0.1, 0.05, 0, -0.08, 0.1, -0.05, 0], strict=True):
        one.ImagePositionPatient = [*one.ImagePositionPatient[:2], one.ImagePositionPatient[2] + shift]
    np.testing.assert_array_equal(read(segmented(slices, TWO), tmp_path, pet).array, NUMBERED)


@pytest.mark.parametrize("held", [[4], [2, 4, 6], [1, 7]])
def test_slices_without_drawing_stay_empty(pet, source, dicom, tmp_path, held):
    """Empty frames are not stored: a lesion on every second slice must not look like one on thick slices."""
    mask = boxes(np.s_[held, 3:6, 4:8])
    seg = segmented(source(), mask, omit_empty_frames=True)
    measures = seg.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    measures.SpacingBetweenSlices = SPACING[2]
    np.testing.assert_array_equal(read(seg, tmp_path, pet).array > 0, mask[0])
    del measures.SpacingBetweenSlices  # then the images it refers to have to tell
    study = load_study(dicom.save(source(), tmp_path / "pet"), pseudonym_key=b"key")
    np.testing.assert_array_equal(read(seg, tmp_path, study.pet, study=study).array > 0, mask[0])


def test_of_overlapping_segments_the_smaller_is_kept_whole(pet, source, tmp_path):
    masks = boxes(np.s_[2:4, 4:6, 4:6], np.s_[1:6, 3:9, 3:9])
    expected = np.where(masks[0], 1, 2 * masks[1])
    np.testing.assert_array_equal(read(segmented(source(), masks), tmp_path, pet).array, expected)
    np.testing.assert_array_equal(
        read(segmented(source(), masks[::-1]), tmp_path, pet).array, np.array([0, 2, 1])[expected]
    )


def test_organs_beside_lesions_are_left_out_unless_named(pet, source, tmp_path):
    seg = segmented(source(), TWO, categories={2: ANATOMY})
    np.testing.assert_array_equal(read(seg, tmp_path, pet).array > 0, TWO[0])
    np.testing.assert_array_equal(read(seg, tmp_path, pet, rois=["REGION 2"]).array > 0, TWO[1])
    only_organs = segmented(source(), TWO, categories={1: ANATOMY, 2: ANATOMY})
    np.testing.assert_array_equal(read(only_organs, tmp_path, pet).array, NUMBERED)


def test_an_unknown_name_is_refused_with_the_names_but_never_the_patients(pet, source, tmp_path):
    seg = segmented(source(), TWO)
    seg.SegmentSequence[1].SegmentLabel = "Dupont liver HOSP-4711"
    with pytest.raises(SeriesNotFoundError) as refusal:
        read(seg, tmp_path, pet, rois=["lung", "Region 1"])
    assert (
        str(refusal.value.found) == "1 of the names asked for are not in the mask. It holds: Region 1, *** liver ***."
    )


def test_another_frame_of_reference_is_refused(source, dicom, tmp_path):
    study = load_study(dicom.save(source(), tmp_path / "pet"), pseudonym_key=b"key")
    elsewhere = segmented(source(series="other", FrameOfReferenceUID=generate_uid()), TWO)
    with pytest.raises(SliceGeometryError, match="another examination"):
        read(elsewhere, tmp_path, study.pet, study=study)
    same = segmented(source(series="other"), TWO)  # another series in the frame of the PET
    np.testing.assert_array_equal(read(same, tmp_path, study.pet, study=study).array, NUMBERED)


def test_a_frame_of_reference_lost_by_an_archive_is_forgiven_where_the_pets_images_are_named(source, dicom, tmp_path):
    study = load_study(dicom.save(source(), tmp_path / "pet"), pseudonym_key=b"key")
    seg = segmented(source(), TWO)
    seg.FrameOfReferenceUID = generate_uid()
    np.testing.assert_array_equal(read(seg, tmp_path, study.pet, study=study).array, NUMBERED)


def test_a_segmentation_beside_the_pet_is_refused(pet, source, tmp_path):
    seg = segmented(source(origin=(500.0, 500.0, 900.0)), TWO)
    with pytest.raises(SliceGeometryError, match="No voxel of the mask"):
        read(seg, tmp_path, pet)


def test_a_segmentation_without_a_pixel_is_refused(pet, source, tmp_path):
    seg = segmented(source(), TWO, omit_empty_frames=False)
    seg.PixelData = bytes(len(seg.PixelData))
    with pytest.raises(UnreadableStudyError, match="Nothing is drawn"):
        read(seg, tmp_path, pet)


@pytest.mark.parametrize("missing", ["SegmentSequence", "PixelData", "SharedFunctionalGroupsSequence", "Rows"])
def test_a_damaged_segmentation_is_refused(pet, source, tmp_path, missing):
    seg = segmented(source(), TWO)
    seg.save_as(tmp_path / "s")
    damaged = pydicom.dcmread(tmp_path / "s")
    del damaged[missing]
    damaged.save_as(tmp_path / "s")
    with pytest.raises(UnreadableStudyError, match="damaged"):
        read_mask(tmp_path / "s", pet)


def test_truncated_pixels_are_refused(pet, source, tmp_path):
    seg = segmented(source(), TWO)
    seg.PixelData = seg.PixelData[:-40]
    with pytest.raises(UnreadableStudyError, match="damaged"):
        read(seg, tmp_path, pet)


def test_an_unknown_type_of_segmentation_is_refused(pet, source, tmp_path):
    seg = segmented(source(), TWO)
    seg.SegmentationType = "SURFACE"
    with pytest.raises(UnreadableStudyError, match="unknown type"):
        read(seg, tmp_path, pet)
