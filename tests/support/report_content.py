"""A case for the tests of the report, made by hand: phantom, record, answer; and what can happen to it."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import numpy as np

from explain.explanation import Explanation, SanityCheckResult, ScoreTerm
from explain.lesion_effects import lesion_label, own_value
from fedpet.clinical.record import ClinicalRecord, RecordReference
from fedpet.core.messages import Message
from fedpet.imaging.anatomy.reference_uptake import OrganReferences, ReferenceUptake
from fedpet.imaging.lesions.delineation import HotComponent
from fedpet.imaging.lesions.lesion import Quantities
from fedpet.imaging.lesions.lesion_table import QUANTITIES
from fedpet.imaging.lesions.quantities import quantify
from fedpet.imaging.response.assessment import assess_response
from fedpet.imaging.response.comparison import Examination, LesionSummary
from fedpet.imaging.study import AppliedOverride, CheckStatus, PatientFacts, PetCtStudy, PetFacts, QualityCheck
from fedpet.imaging.volume import Volume
from inference.input_contract import BIOMARKERS, default_contract
from inference.prediction import (
    EndpointProbability,
    ModelReference,
    OverallSurvival,
    Prediction,
    PredictionOrigin,
    SurvivalCurve,
)
from inference.record_concordance import RecordConfirmation, compare_record
from reports.content import ReaderDecision, ReportContent


def ellipsoid(grid, centre, radii):
    return sum(((g - c) / r) ** 2 for g, c, r in zip(grid, centre, radii, strict=True)) <= 1


def volume(spacing, unit, regions, background):
    """A body of 400 x 240 x 960 mm drawn from ellipsoids: (centre x, y, z), (radii), value; LPS mm."""
    n = (np.array([960, 280, 440]) / spacing).astype(int)
    z, y, x = np.meshgrid(*[(np.arange(k) - (k - 1) / 2) * spacing for k in n], indexing="ij")
    array = np.full(n, background, np.float32)
    for centre, radii, value in regions:
        array[ellipsoid((x, y, z), centre, radii)] = value
    affine = np.diag([spacing, spacing, spacing, 1.0])
    affine[:3, 3] = -(n[::-1] - 1) / 2 * spacing
    return Volume(array, affine, unit)


BODY = [((0, 0, 20), (175, 105, 470)), ((0, 0, 400), (75, 95, 78))]
LUNGS = [((-75, -5, 160), (60, 75, 115)), ((75, -5, 160), (60, 75, 115))]
LESIONS = [
    ((-85, -10, 190), (24, 22, 26), 11.5),
    ((-18, 5, 185), (14, 13, 18), 8.2),
    ((16, 12, 150), (11, 11, 12), 6.4),
    ((-80, -15, -5), (16, 14, 15), 9.1),
    ((5, 75, -120), (13, 11, 14), 7.3),
    ((90, 20, 110), (9, 9, 9), 5.2),
]


def phantom():
    lungs = [(c, r, 0.5) for c, r in LUNGS]
    organs = [
        ((-80, -10, 0), (75, 75, 62), 2.3),
        ((0, -60, -280), (38, 34, 30), 18.0),
        ((0, 0, 415), (58, 78, 58), 8.5),
        ((35, -35, 120), (38, 34, 42), 2.8),
    ]
    pet = volume(6.0, "g/ml", [(c, r, 0.9) for c, r in BODY] + lungs + organs + LESIONS, 0.02)
    noise = np.random.default_rng(3).normal(1.0, 0.08, pet.shape)
    pet = pet.like((pet.array * noise).astype(np.float32), "g/ml")
    tissue = [(c, r, 30.0) for c, r in BODY] + [(c, r, -800.0) for c, r in LUNGS]
    spine = [((0, 70, 20), (16, 16, 440), 420.0)]
    ct = volume(4.0, "HU", tissue + spine + [(c, r, 45.0) for c, r, _ in LESIONS], -1000.0)
    labels = volume(6.0, "label", [(c, r, i + 1) for i, (c, r, _) in enumerate(LESIONS)], 0)
    return pet, ct, labels.like(labels.array.astype(np.uint16), "label")


CHECKS = (
    QualityCheck("ct_present", CheckStatus.PASS, Message("A CT of the same frame of reference is present.")),
    QualityCheck("chest_covered", CheckStatus.PASS, Message("Both lungs lie inside the field of view.")),
    QualityCheck("pet_extent", CheckStatus.PASS, Message("The PET covers {mm:.0f} mm.", mm=960.0)),
    QualityCheck("uptake_time", CheckStatus.WARN, Message("Uptake time is {x:.1f} min, 55 to 75 expected.", x=82.5)),
    QualityCheck("dose", CheckStatus.PASS, Message("{x:.0f} MBq were injected.", x=251.0)),
    QualityCheck("weight", CheckStatus.PASS, Message("Weights of the images and of the record agree.")),
    QualityCheck("slices", CheckStatus.PASS, Message("Slices are complete and evenly spaced.")),
    QualityCheck("alignment", CheckStatus.PASS, Message("PET and CT overlap.")),
    QualityCheck("suv_plausible", CheckStatus.PASS, Message("SUV of the body is plausible.")),
    QualityCheck("orientation", CheckStatus.PASS, Message("Head first, supine.")),
    QualityCheck("tracer", CheckStatus.PASS, Message("Fluorodeoxyglucose.")),
)

MORE = {"platelets": 250, "pleural_effusion": True, "adrenal_metastases": False, "antibiotics": True}
RECORD = ClinicalRecord(
    age=64.5, sex="M", height_cm=174, weight_kg=71, ecog_ps=1, smoking="former", pack_years=35,
    histology="adenocarcinoma", pdl1_tps=60, line=1, drug="pembrolizumab", metastatic_organs=3,
    brain_metastases=False, liver_metastases=True, bone_metastases=True, steroids=False,
    ldh=312, ldh_uln=248, leucocytes=9.4, neutrophils=6.9, lymphocytes=1.5, haemoglobin=12.6, crp=24,
    pet_to_treatment_days=18, glycaemia_mmol_l=6.2,
)  # fmt: skip

CARD = {
    "name": "demonstration", "version": "0.1.0", "created": "2026-11-20", "synthetic": True,
    "intended_use": "Research on the prediction of progression-free survival; demonstration of the software.",
    "limits": [
        "Trained on simulated patients only: its figures say nothing about real patients.",
        "Not evaluated under chemo-immunotherapy, nor in patients with a driver alteration.",
    ],
    "federation": {
        "framework": "Fed-BioMed", "framework_version": "6.4.1", "rounds": 40, "aggregator": "FedAvg",
        "secure_aggregation": False, "plan_sha256": "ab" * 32,
        "nodes": [{"site": f"site-{i}", "training_cases": 60 + 5 * i} for i in range(1, 9)],
    },
    "metrics": {
        "auc_pfs_12m": {"value": 0.781, "lower": 0.742, "upper": 0.82},
        "auc_bayes": 0.842, "auc_clinical_only": 0.664, "c_index": {"value": 0.701, "lower": 0.67, "upper": 0.73},
    },
    "data": {"description": "640 synthetic patients at 8 non-identical centres."},
}  # fmt: skip


def measured(pet, labels):
    regions = ("lung_right", "mediastinum", "mediastinum", "liver", "bone", "lung_left")
    found = quantify(pet, labels, method="suv4_model_map")
    lesions = tuple(replace(lesion, region=region) for lesion, region in zip(found.lesions, regions, strict=True))
    return replace(found, lesions=lesions)


def predicted(pet, labels):
    values = dict.fromkeys(default_contract().inputs, 0.0) | {
        "age": -0.02, "male": 0.04, "ecog_1": 0.11, "never_smoker": -0.03, "pdl1_1": -0.12, "pdl1_50": -0.31,
        "ldh_above_uln": 0.22, "nlr": 0.17, "leucocytes": 0.03, "liver_metastases": 0.28, "bone_metastases": 0.12,
        "missing:albumin": 0.05, "line_2": -0.09,
    }  # fmt: skip
    image = dict(zip(BIOMARKERS, (0.35, 0.09, 0.14, -0.06, 0.21, 0.02), strict=True))
    return Prediction(
        model=ModelReference("demonstration", "0.1.0", "cd" * 32, "ef" * 32, synthetic=True, provider="TestProvider"),
        origin=PredictionOrigin("12" * 32, "34" * 32),
        abstained=None,
        endpoints=(
            EndpointProbability("pfs_12m", 12.0, 0.337, 0.264, 0.418, 0.391, "indeterminate"),
            EndpointProbability("dcb_6m", 6.0, 0.528, 0.452, 0.604, 0.573, "indeterminate"),
            EndpointProbability("early_failure_3m", 3.0, 0.286, 0.226, 0.352, 0.247, "free"),
        ),
        survival=SurvivalCurve(
            months=(0.0, 1.5, 3.0, 4.5, 6.0, 9.0, 12.0, 18.0, 24.0),
            probability=(1.0, 0.86, 0.714, 0.612, 0.528, 0.42, 0.337, 0.248, 0.19),
            lower=(1.0, 0.82, 0.648, 0.54, 0.452, 0.34, 0.264, 0.18, 0.13),
            upper=(1.0, 0.9, 0.774, 0.68, 0.604, 0.5, 0.418, 0.33, 0.26),
        ),
        risk_group="intermediate",
        risk_score=0.43,
        interval_level=0.8,
        missing=("albumin", "lesion:necrotic_share"),
        contributions=values | {f"image:{name}": x for name, x in image.items()},
        quantities=measured(pet, labels),
        lesion_labels=labels,
        overall_survival=OverallSurvival(
            24.0, 0.413, 0.346, 0.482, 0.447,
            SurvivalCurve(
                months=(0.0, 6.0, 12.0, 24.0), probability=(1.0, 0.79, 0.617, 0.413),
                lower=(1.0, 0.74, 0.552, 0.346), upper=(1.0, 0.83, 0.678, 0.482),
            ),
        ),
    )  # fmt: skip


RATIO = QUANTITIES["marrow_to_liver"].label


def explained(pet, labels):
    smooth = np.where(labels.array > 0, pet.array - 2.5, 0.02 * pet.array)
    return Explanation(
        method="integrated gradients (Captum), 32 steps, PET clipped at SUV 2.5",
        attribution=pet.like((smooth / np.abs(smooth).sum()).astype(np.float32), "1"),
        lesion_share={0: 0.083, 1: 0.412, 2: 0.121, 3: 0.06, 4: 0.203, 5: 0.094, 6: 0.027},
        variable_contributions={},
        completeness_error=0.0042,
        gates=(
            SanityCheckResult(
                "completeness", passed=True, reason=Message("The attributions sum to the score difference.")
            ),
            SanityCheckResult(
                "randomisation", passed=True, reason=Message("Random weights give another map (SSIM {x:.2f}).", x=0.21)
            ),
            SanityCheckResult(
                "deletion", passed=True, reason=Message("Deletion beats random voxels and the SUV image.")
            ),
        ),
        terms=(
            ScoreTerm("lesion:1", lesion_label(1, "lung_right"), 0.41, -0.153),
            ScoreTerm("lesion:4", lesion_label(4, "liver"), 0.38, -0.137),
            ScoreTerm("lesion:6", lesion_label(6, "lung_left"), 0.01, -0.002),
            ScoreTerm("organ:marrow_to_liver", Message("{what}: {ratio:.2f}", what=RATIO, ratio=0.63), 0.02, -0.008),
            ScoreTerm("variable:pdl1_tps", own_value(RECORD, ("pdl1_tps",), "pdl1_1"), -0.43, 0.144),
            ScoreTerm("variable:brain_metastases", own_value(RECORD, ("brain_metastases",), ""), -0.06, 0.021),
            ScoreTerm("variable:neutrophils", own_value(RECORD, ("neutrophils", "lymphocytes"), "nlr"), 0.17, -0.061),
        ),
        reference_score=-0.2,
    )


def make_content():
    pet, ct, labels = phantom()
    facts = PetFacts(
        units="BQML", decay_correction="START", suv_factor_min=2.9e-4, suv_factor_max=2.9e-4,
        reference_time_source="series_time", reference_time=datetime(2026, 11, 2, 10, 22, 30),  # noqa: DTZ001 - DICOM times are local
        injection_time=None, uptake_min=82.5, dose_bq=251e6, half_life_s=6586.2, weight_kg=71.0, height_m=1.74, sex="M",
        factor_rule="bqml_start",
        radiopharmaceutical="Fluorodeoxyglucose", corrected_image=("ATTN",), manufacturer="SIEMENS", model="Biograph",
    )  # fmt: skip
    study = PetCtStudy("P-7f3a9c21e0b4", pet, ct, facts, (), (), "2026-11-02", {"PT": ("1.2.3",)})
    return ReportContent(
        report_uid="2.25.209123874612387461238746123874612",
        created="2026-11-24T14:03:00",
        centre="Centre Exemple",
        study=study,
        checks=CHECKS,
        record=RECORD,
        prediction=predicted(pet, labels),
        explanation=explained(pet, labels),
        card=CARD,
    )


def abstained(content):
    silent = replace(
        content.prediction,
        abstained=Message("The chest is not covered: the model reads whole-body studies."),
        endpoints=(), survival=None, overall_survival=None, risk_group=None, risk_score=None, contributions={},
    )  # fmt: skip
    checks = tuple(replace(c, level=CheckStatus.FAIL) if c.name == "chest_covered" else c for c in CHECKS)
    return replace(content, prediction=silent, explanation=None, checks=checks)


def with_organs(content):
    """Healthy organs and components: six lesions, and physiological uptake that a rule or the reader left out."""
    references = OrganReferences(
        ReferenceUptake("liver", "sphere_3cm_right_lobe", 2.31, 0.27, 14.1, (0.0, 0.0, 0.0)),
        ReferenceUptake("blood_pool", "cylinder_1x2cm_descending_aorta", 1.62, 0.18, 1.6, (0.0, 0.0, 0.0)),
        None,
        ReferenceUptake("marrow", "vertebral_bodies_trimmed", 1.45, 0.3, 54.2, (0.0, 0.0, 0.0)),
        {"spleen": Message("No place for a sphere of {mm:.0f} mm was found.", mm=20.0)},
    )
    places = ["liver"] * 6 + ["kidney", "kidney", "bladder", "brain", "mediastinum"]
    components = tuple(
        HotComponent(i + 1, i < 6, place, Message("A reason."), i == 10, 6.0, 5.0, (0.0, 0.0, 0.0))
        for i, place in enumerate(places)
    )
    prediction = replace(content.prediction, components=components)
    return replace(content, references=references, prediction=prediction)


def corrected(content):
    """A weight and an injection time that a person put right."""
    corrections = (
        AppliedOverride("weight_kg", 7.1, 71.0, "Virgule oubliée à la console", "Dr Martin"),
        AppliedOverride(
            "injection_time", datetime(2026, 11, 2, 11), datetime(2026, 11, 2, 9),  # noqa: DTZ001 - DICOM times are local
            "Horloge du compteur d’activité en avance de deux heures", "",
        ),
    )  # fmt: skip
    facts = replace(content.study.pet_facts, weight_source="corrected", injection_source="corrected")
    return replace(content, study=replace(content.study, corrections=corrections, pet_facts=facts))


def contradicted(content):
    """The record of another patient, that a person confirmed."""
    images = PatientFacts("1" * 24, "M", 64, "birth_date", 71.0, None, ("2026-11-02",))
    record = replace(content.record, sex="F", age=81)
    reference = RecordReference(identifier="2" * 24, pet_date=date(2024, 11, 2))
    confirmation = RecordConfirmation("Erreur de saisie au PACS", "Dr Martin")
    found = compare_record(record, reference, images, confirmation=confirmation)
    return replace(content, record=record, concordance=found)


def signed(content, decision="accept", comment="", reader="Dr Claire Martin", version=2):
    """A reading that is final."""
    return replace(
        content, verdict=ReaderDecision(decision, comment, reader, "2026-11-25T09:12:00+01:00"), version=version
    )


def without_lesions(content):
    """Nothing was delineated."""
    labels = content.prediction.lesion_labels.like(np.zeros(content.study.pet.shape, np.uint16), "label")
    quantities = Quantities("suv4_model_map", (), 0.0, 0.0, 0.0, 0.0, 0.0)
    prediction = replace(content.prediction, lesion_labels=labels, quantities=quantities)
    return replace(content, prediction=prediction, explanation=None)


MANY_REGIONS = ("bone_spine_thoracic", "liver", "lung_right_upper", "mediastinum", "lung_left_lower", "bone_pelvis")


def with_many_lesions(content, count=60):
    """Many lesions all over the body, the first the largest, in six regions."""
    places = [(x, y, z) for z in range(-330, 370, 55) for x, y in ((-70, -20), (-25, 30), (20, -30), (65, 25), (0, 60))]
    chosen = np.random.default_rng(5).permutation(len(places))[:count]
    drawn = [(places[place], (16 - i * 8 / count,) * 3, 12.0 - 6 * i / count) for i, place in enumerate(chosen)]
    hot = volume(6.0, "g/ml", drawn, 0.0)
    labels = volume(6.0, "label", [(centre, radii, i + 1) for i, (centre, radii, _suv) in enumerate(drawn)], 0)
    return _with_lesions(content, hot, labels.like(labels.array.astype(np.uint16), "label"), MANY_REGIONS)


def _with_lesions(content, hot, labels, regions):
    pet = content.study.pet
    pet = pet.like(np.where(hot.array > 0, hot.array, pet.array).astype(np.float32), "g/ml")
    found = quantify(pet, labels, method="suv4_model_map")
    lesions = tuple(replace(one, region=regions[i % len(regions)]) for i, one in enumerate(found.lesions))
    quantities = replace(found, lesions=lesions)
    explanation = replace(content.explanation, lesion_share={0: 0.1, **{one.id: 0.9 / len(lesions) for one in lesions}},
                          terms=content.explanation.terms[3:])  # fmt: skip
    return replace(
        content,
        study=replace(content.study, pet=pet),
        prediction=replace(content.prediction, quantities=quantities, lesion_labels=labels),
        explanation=explanation,
    )


def with_one_lesion(content):
    """A single lesion in the right lung."""
    hot = volume(6.0, "g/ml", [LESIONS[0]], 0.0)
    return _with_lesions(content, hot, hot.like((hot.array > 0).astype(np.uint16), "label"), ("lung_right",))


def with_two_dates(content):
    """The same patient three months before: the liver lesion was hotter, that of the left lung was not there."""
    now = content.prediction.quantities
    summaries = tuple(
        LesionSummary(one.id, one.region, one.centroid_mm, one.suv_max, one.suv_peak, one.mtv_ml) for one in now.lesions
    )
    body = ((-175.0, -105.0, -450.0), (175.0, 105.0, 490.0))
    after = Examination("2026-11-02", now.method, "SIEMENS Biograph", 82.5, now.tmtv_ml, now.tlg, now.suv_max,
                        now.suv_peak, summaries, 0.79, (2.31, 0.27), None, {}, body)  # fmt: skip
    earlier = tuple(replace(one, suv_peak=1.8 * one.suv_peak) for one in summaries[:5])
    before = replace(after, date="2026-08-03", tmtv_ml=140.0, tlg=1900.0, suv_peak=1.8 * now.suv_peak, lesions=earlier)
    return replace(content, response=assess_response(before, after))


def with_long_texts(content):
    """Names and texts as long as hospitals, manufacturers and readers write them."""
    facts = replace(
        content.study.pet_facts,
        manufacturer="GE MEDICAL SYSTEMS HEALTHCARE TECHNOLOGIES INTERNATIONAL",
        model="Discovery IQ Gen 2 Extended Field of View " * 9,
        radiopharmaceutical="Fludeoxyglucose (18F) solution injectable pour perfusion",
    )
    study = replace(content.study, pseudonym="P-" + "7f3a9c21e0b4" * 3, pet_facts=facts)
    centre = "Centre hospitalier universitaire régional Professeur Jean-Baptiste de Montmorency-Bouteville, oncologie"
    reader = "Dr Claire-Élisabeth de La Rochefoucauld-Montbel, service de médecine nucléaire et imagerie moléculaire"
    comment = "Les deux lésions médiastinales correspondent à une sarcoïdose connue, confirmée par biopsie. " * 12
    return signed(replace(content, study=study, centre=centre), "reject", comment.strip(), reader, version=12)


def certificate(name, folder):
    """A self-made certificate: PKCS#12 with its key, its password "secret", and PEM alone."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import pkcs12
    from cryptography.x509.oid import NameOID

    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    others = ("key_encipherment", "data_encipherment", "key_agreement", "key_cert_sign", "crl_sign", "encipher_only",
              "decipher_only")  # fmt: skip
    usage = x509.KeyUsage(digital_signature=True, content_commitment=True, **dict.fromkeys(others, False))
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=30))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .sign(key, hashes.SHA256())
    )
    store, pem = folder / f"{name}.p12", folder / f"{name}.pem"
    encryption = serialization.BestAvailableEncryption(b"secret")
    store.write_bytes(pkcs12.serialize_key_and_certificates(b"fedpet", key, made, None, encryption))
    pem.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    return store, pem
