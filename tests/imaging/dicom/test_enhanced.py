"""Enhanced multi-frame objects give the volumes and facts of the classic series they hold."""

from __future__ import annotations

import datetime as dt
import io
from dataclasses import replace

import numpy as np
import pydicom
import pytest
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless, RLELossless, generate_uid

from fedpet.core.errors import SeriesNotFoundError, SliceGeometryError, SuvError
from fedpet.imaging.loading import load_study

_RNG = np.random.default_rng(7)
SUV = _RNG.uniform(0.0, 9.0, (8, 6, 5))
HU = _RNG.integers(-1000, 1500, (8, 40, 36))


def load(folder, **options):
    return load_study(folder, pseudonym_key=b"k", **options)


def same(one, other):
    """Voxels to the last bit, and where they lie."""
    assert one.array.dtype == other.array.dtype
    np.testing.assert_array_equal(one.array, other.array)
    np.testing.assert_allclose(one.affine, other.affine, rtol=0, atol=1e-9)


def reason(study, modality):
    return next(str(one.reason) for one in study.series if one.modality == modality)


@pytest.fixture
def classic(tmp_path, dicom):
    """The study as classic slices with per-slice slopes, loaded."""
    return load(dicom.save(dicom.pet(SUV) + dicom.ct(HU), tmp_path / "classic", shuffle=3))


def test_an_enhanced_pet_and_ct_equal_their_classic_series(tmp_path, dicom, classic):
    study = load(dicom.save([dicom.enhanced(dicom.pet(SUV)), dicom.enhanced(dicom.ct(HU), series="e")], tmp_path / "e"))
    same(study.pet, classic.pet)
    same(study.ct, classic.ct)
    facts, expected = study.pet_facts, classic.pet_facts
    for name in ("units", "decay_correction", "suv_factor_min", "suv_factor_max", "reference_time", "injection_time",
                 "uptake_min", "dose_bq", "half_life_s", "weight_kg", "height_m"):  # fmt: skip
        assert getattr(facts, name) == getattr(expected, name), name
    assert set(facts.corrected_image) == {"NORM", "ATTN", "SCAT", "RAN", "DECY"}
    assert "Fluorodeoxyglucose" in facts.radiopharmaceutical
    assert {one.instances for one in study.series} == {8}
    assert [len(uids) for uids in study.source_uids.values()] == [1, 1]


def test_legacy_converted_pet_and_ct_equal_their_classic_series(tmp_path, dicom, classic):
    slices = [dicom.legacy_converted(dicom.pet(SUV)), dicom.legacy_converted(dicom.ct(HU))]
    study = load(dicom.save(slices, tmp_path / "legacy"))
    same(study.pet, classic.pet)
    same(study.ct, classic.ct)
    assert study.pet_facts == classic.pet_facts


@pytest.mark.reference_data
@pytest.mark.filterwarnings("ignore:The string .* is unlikely to represent the intended person name")
@pytest.mark.parametrize(
    "name", ["DRO_0_0", "DRO_1_0", "DRO_2_0", "DRO_2_4", "DRO_3_0", "DRO_3_1", "DRO_4_1", "DRO_5_0"]
)
def test_legacy_converted_reference_objects_equal_the_classic_ones(tmp_path, dicom, reference_data, name):
    """With the private factor of DRO_2_4, which has no creator and is lost by the converter; DRO_5_0 is no FDG."""
    source = reference_data / "dro" / name / "PT"
    slices = [pydicom.dcmread(path) for path in sorted(source.iterdir())]
    whole = dicom.legacy_converted(slices)
    (item,) = whole.SharedFunctionalGroupsSequence[0].UnassignedSharedConvertedAttributesSequence
    item.update({element.tag: element for element in slices[0] if element.tag.is_private})
    study = load(dicom.save([whole], tmp_path / "legacy"), require="images")
    classic = load(source, require="images")
    assert study.pet.unit == classic.pet.unit
    same(study.pet, classic.pet)
    assert study.pet_facts == classic.pet_facts


@pytest.mark.reference_data
def test_a_legacy_converted_ct_in_jpeg_2000_equals_the_classic_one(tmp_path, dicom, reference_data):
    """Frames are taken over compressed, and decoded one by one."""
    source = reference_data / "small" / "ct_mct_j2klossless_20slices"
    slices = [pydicom.dcmread(path) for path in sorted(source.iterdir())]
    pet = dicom.pet(np.ones((8, 6, 6)), FrameOfReferenceUID=slices[0].FrameOfReferenceUID)
    for one in slices:  # anonymised: these are empty
        one.SOPClassUID, one.SOPInstanceUID = one.file_meta.MediaStorageSOPClassUID, generate_uid()
        one.PatientID, one.StudyInstanceUID, one.SeriesInstanceUID = pet[0].PatientID, pet[0].StudyInstanceUID, "1.2.3"
    converted = dicom.legacy_converted(slices)
    assert converted.file_meta.TransferSyntaxUID == JPEG2000Lossless
    study = load(dicom.save([*pet, converted], tmp_path / "legacy"))
    same(study.ct, load(dicom.save(pet + slices, tmp_path / "classic")).ct)


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless, JPEG2000Lossless])
def test_encapsulated_frames_equal_native_ones(tmp_path, dicom, classic, syntax):
    """Unsigned, as the JPEG 2000 encoder wants it."""
    ct = pydicom.dcmread(io.BytesIO(dicom.to_bytes(dicom.enhanced(dicom.ct(HU), series="e", PixelRepresentation=0))))
    ct.compress(syntax)
    same(load(dicom.save([*dicom.pet(SUV), ct], tmp_path / "e")).ct, classic.ct)


def test_frames_in_any_order_give_the_same_volume(tmp_path, dicom, classic):
    slices = dicom.pet(SUV)
    shuffled = [slices[k] for k in np.random.default_rng(1).permutation(len(slices))]
    same(load(dicom.save([dicom.enhanced(shuffled)], tmp_path / "e")).pet, classic.pet)


def test_a_concatenation_of_two_objects_is_one_volume(tmp_path, dicom, classic):
    slices = dicom.pet(SUV)
    halves = [dicom.enhanced(slices[:5]), dicom.enhanced(slices[5:])]
    halves[1].SOPInstanceUID = generate_uid()
    same(load(dicom.save(halves, tmp_path / "e")).pet, classic.pet)


def test_decay_corrected_to_the_injection_is_admin(tmp_path, dicom):
    study = load(dicom.save([dicom.enhanced(dicom.pet(SUV), corrected_to=dicom.INJECTION)], tmp_path / "e"))
    assert study.pet_facts.decay_correction == "ADMIN"
    assert study.pet_facts.suv_factor_max == pytest.approx(dicom.WEIGHT_KG * 1000 / dicom.DOSE_BQ, rel=1e-9)


@pytest.mark.parametrize("minutes", [-30, 25])
def test_the_time_of_decay_correction_counts_not_that_of_the_series(tmp_path, dicom, minutes):
    corrected_to = dicom.START + dt.timedelta(minutes=minutes)
    study = load(dicom.save([dicom.enhanced(dicom.pet(SUV), corrected_to=corrected_to)], tmp_path / "e"))
    elapsed = (corrected_to - dicom.INJECTION).total_seconds()
    dose = dicom.DOSE_BQ * 0.5 ** (elapsed / dicom.HALF_LIFE_S)
    assert study.pet_facts.suv_factor_max == pytest.approx(dicom.WEIGHT_KG * 1000 / dose, rel=1e-9)
    assert study.pet_facts.reference_time == corrected_to


def test_decay_corrected_without_saying_to_when_is_refused(tmp_path, dicom):
    whole = dicom.enhanced(dicom.pet(SUV))
    del whole.DecayCorrectionDateTime
    with pytest.raises(SuvError):
        load(dicom.save([whole], tmp_path / "e"))


def test_not_corrected_for_decay_equals_the_classic_series(tmp_path, dicom):
    tags = {"DecayCorrection": "NONE", "CorrectedImage": ["ATTN"]}
    slices = dicom.pet(SUV, **tags)
    for number, one in enumerate(slices):
        one.AcquisitionTime = f"10{number:02d}30"
    study = load(dicom.save([dicom.enhanced(slices, corrected_to=None)], tmp_path / "e"))
    assert study.pet_facts.decay_correction == "NONE"
    same(study.pet, load(dicom.save(slices, tmp_path / "classic")).pet)


@pytest.mark.parametrize(
    ("unit", "units", "suv_type"),
    [("g/ml{SUVbw}", "GML", "BW"), ("g/ml{SUVlbm(Janma)}", "GML", "LBMJANMA"), ("cm2/ml{SUVbsa}", "CM2ML", "BSA")],
)
def test_units_come_from_the_real_world_value_mapping(tmp_path, dicom, unit, units, suv_type):
    slices = dicom.pet(SUV, scale=1.0, Units=units, SUVType=suv_type)
    study = load(dicom.save([dicom.enhanced(slices, unit=unit)], tmp_path / "e"))
    assert (study.pet_facts.units, study.pet_facts.suv_type) == (units, suv_type)
    same(study.pet, load(dicom.save(slices, tmp_path / "classic")).pet)


def test_of_several_mappings_suvbw_is_preferred(tmp_path, dicom):
    whole = dicom.enhanced(dicom.pet(SUV))
    for groups in whole.PerFrameFunctionalGroupsSequence:
        (activity,) = groups.RealWorldValueMappingSequence
        suv = dicom.mapping("g/ml{SUVbw}", activity.RealWorldValueSlope / dicom.bqml_per_suv())
        groups.RealWorldValueMappingSequence = [dicom.mapping("{counts}", 7.0), activity, suv]
    study = load(dicom.save([whole], tmp_path / "e"))
    assert study.pet_facts.factor_rule == "gml_bw"
    np.testing.assert_allclose(study.pet.array, SUV, atol=1e-3)


def test_without_a_mapping_the_rescale_type_names_the_units(tmp_path, dicom, classic):
    slices = dicom.pet(SUV)
    whole = dicom.enhanced(slices)
    for groups, one in zip(whole.PerFrameFunctionalGroupsSequence, slices, strict=True):
        del groups.RealWorldValueMappingSequence
        groups.PixelValueTransformationSequence[0].RescaleType = "BQML"
        groups.PixelValueTransformationSequence[0].RescaleSlope = one.RescaleSlope
    same(load(dicom.save([whole], tmp_path / "e")).pet, classic.pet)


@pytest.mark.parametrize("spoil", ["unspecified", "lookup", "intercept", "counts"])
def test_pixels_without_units_or_a_plain_slope_are_refused(tmp_path, dicom, spoil):
    whole = dicom.enhanced(dicom.pet(SUV), unit="{propcounts}/s" if spoil == "counts" else "Bq/ml")
    for groups in whole.PerFrameFunctionalGroupsSequence:
        (mapping,) = groups.RealWorldValueMappingSequence
        if spoil == "unspecified":
            del groups.RealWorldValueMappingSequence
        elif spoil == "lookup":
            del mapping.RealWorldValueSlope
        elif spoil == "intercept":
            mapping.RealWorldValueIntercept = 3.0
    with pytest.raises(SuvError):
        load(dicom.save([whole], tmp_path / "e"))


def test_an_enhanced_pet_without_attenuation_correction_is_never_chosen(tmp_path, dicom, classic):
    other = dicom.enhanced(dicom.pet(np.full((14, 6, 6), 9.0)), AttenuationCorrected="NO", series="nac")
    study = load(dicom.save([*dicom.pet(SUV), other], tmp_path / "e"))
    same(study.pet, classic.pet)
    with pytest.raises(SeriesNotFoundError, match="without attenuation correction"):
        load(dicom.save([other], tmp_path / "only"))


def test_the_tracer_of_the_frames_is_taken_where_several_are_named(tmp_path, dicom, classic):
    whole = dicom.enhanced(dicom.pet(SUV))
    other = pydicom.Dataset()
    other.RadiopharmaceuticalAgentNumber, other.RadionuclideTotalDose, other.RadionuclideHalfLife = 2, "7e8", "122"
    whole.RadiopharmaceuticalInformationSequence.insert(0, other)
    same(load(dicom.save([whole], tmp_path / "e")).pet, classic.pet)


@pytest.mark.parametrize("attribute", ["TemporalPositionIndex", "NominalCardiacTriggerDelayTime"])
def test_a_dynamic_or_gated_enhanced_pet_is_refused(tmp_path, dicom, attribute):
    whole = dicom.enhanced(dicom.pet(SUV) + dicom.pet(SUV))
    for number, groups in enumerate(whole.PerFrameFunctionalGroupsSequence):
        content = groups.FrameContentSequence[0]
        if attribute == "TemporalPositionIndex":
            content.TemporalPositionIndex = 1 + number // len(SUV)
        else:
            item = pydicom.Dataset()
            item.NominalCardiacTriggerDelayTime = 100.0 * (number // len(SUV))
            groups.CardiacSynchronizationSequence = [item]
    with pytest.raises(SliceGeometryError, match="gated or dynamic"):
        load(dicom.save([whole], tmp_path / "e"))


def test_two_stacks_of_one_enhanced_ct_are_told_apart(tmp_path, dicom, classic):
    whole = dicom.enhanced(dicom.ct(HU) + dicom.ct(HU[:6] + 3, origin=(-40, -40, 1.5)), series="e")
    for number, groups in enumerate(whole.PerFrameFunctionalGroupsSequence):
        groups.FrameContentSequence[0].StackID = "A" if number < len(HU) else "B"
    study = load(dicom.save([*dicom.pet(SUV), whole], tmp_path / "e"))
    same(study.ct, classic.ct)
    assert sorted(one.instances for one in study.series if one.modality == "CT") == [6, 8]


def test_contrast_is_found_in_an_enhanced_ct(tmp_path, dicom):
    agent, usage = pydicom.Dataset(), pydicom.Dataset()
    agent.CodeMeaning, agent.CodeValue, agent.CodingSchemeDesignator = "Iodinated contrast agent", "426722004", "SCT"
    ct = dicom.enhanced(dicom.ct(HU), series="e", ContrastBolusAgentSequence=[agent])
    assert "with contrast agent" in reason(load(dicom.save([*dicom.pet(SUV), ct], tmp_path / "with")), "CT")
    usage.ContrastBolusAgentAdministered = "NO"
    ct.SharedFunctionalGroupsSequence[0].ContrastBolusUsageSequence = [usage]
    assert "contrast" not in reason(load(dicom.save([*dicom.pet(SUV), ct], tmp_path / "without")), "CT")


def test_an_enhanced_ct_that_is_not_in_hounsfield_units_is_never_chosen(tmp_path, dicom):
    ct = dicom.enhanced(dicom.ct(HU), series="e")
    for groups in ct.PerFrameFunctionalGroupsSequence:
        groups.PixelValueTransformationSequence[0].RescaleType = "MGML"
    study = load(dicom.save([*dicom.pet(SUV), ct], tmp_path / "e"))
    assert study.ct is None
    assert "not in Hounsfield units" in reason(study, "CT")


@pytest.mark.parametrize("spoil", ["fewer groups", "no groups"])
def test_frames_that_are_not_described_are_refused(tmp_path, dicom, spoil):
    whole = dicom.enhanced(dicom.pet(SUV))
    if spoil == "fewer groups":
        del whole.PerFrameFunctionalGroupsSequence[-1]
    else:
        del whole.PerFrameFunctionalGroupsSequence
    with pytest.raises(SeriesNotFoundError, match="frames are not described"):
        load(dicom.save([whole], tmp_path / "e"))


def test_a_name_in_converted_attributes_does_not_travel(tmp_path, dicom):
    """What a converter found no place for may hold anything."""
    whole = dicom.legacy_converted(dicom.pet(SUV))
    (item,) = whole.SharedFunctionalGroupsSequence[0].UnassignedSharedConvertedAttributesSequence
    item.PatientName, item.SeriesDescription = "DUPONT^Jeanne", "DUPONT"
    del whole.SeriesDescription
    study = load(dicom.save([whole], tmp_path / "e"))
    assert "DUPONT" not in repr(replace(study, series=study.series))
    assert [one.description for one in study.series] == [""]


def test_only_the_wanted_frame_is_read_of_a_native_object(tmp_path, dicom, classic):
    """A file cut in its last frame still gives the others: it is refused for that frame, with a sentence."""
    whole = io.BytesIO(dicom.to_bytes(dicom.enhanced(dicom.ct(HU), series="e")))
    folder = dicom.save(dicom.pet(SUV), tmp_path / "e")
    (folder / "cut").write_bytes(whole.getvalue()[:-10])
    with pytest.raises(Exception, match="cannot be decoded"):
        load(folder)
    assert classic.ct is not None
