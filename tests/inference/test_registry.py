"""The registry: what may be promoted, what is in force, and that nothing else ever is."""

from __future__ import annotations

import json
import shutil
from concurrent.futures import ThreadPoolExecutor

import pytest

from fedpet.core.errors import BundleError, CorruptBundleError
from inference.bundle.storage import load_model, write_bundle
from inference.registry import EVALUATION, REPORT_FORMAT, Registry, evaluation_of
from inference.report_signature import own_signer

REPORT = {"format": REPORT_FORMAT, "patients": 40, "sites": {"a": 30, "b": 10}, "observed_c_index": {"model": 0.66}}


@pytest.fixture
def registry(tmp_path):
    return Registry(tmp_path / "models")


@pytest.fixture
def source(untrained_bundle, tmp_path):
    """A bundle that brings no evaluation report in its card."""
    return shutil.copytree(untrained_bundle.folder, tmp_path / "new model")


@pytest.fixture
def report(untrained_bundle, registry):
    """Writes a signed report on the bundle, or one with changes."""

    def write(path, **changes):
        signed = registry.signer.sign(REPORT | {"bundle": untrained_bundle.digest} | changes)
        path.write_text(json.dumps(signed))
        return path

    return write


def test_without_a_promotion_the_demonstration_model_is_in_force(registry):
    assert registry.in_force().digest == load_model().digest
    assert all(one.synthetic for one in registry.held())
    assert [(one.digest, one.in_force, one.patients) for one in registry.held()] == [(load_model().digest, True, 174)]
    assert not registry.folder.exists()


def test_an_evaluated_bundle_is_promoted_and_rolled_back_with_who_and_why(registry, source, tmp_path, report):
    added = registry.add(source, by="Dr A", why="trained on eight sites", evaluation=report(tmp_path / "any.json"))
    assert registry.in_force().digest != added.digest  # added is not promoted
    shutil.rmtree(source)  # the registry has its own copy
    assert registry.promote(added.digest[:8], by="Dr B", why="better").digest == added.digest
    assert registry.in_force().folder == registry.folder / added.digest
    assert evaluation_of(registry.in_force())["patients"] == 40
    assert registry.roll_back(by="Dr C", why="worse").digest == load_model().digest
    assert registry.in_force().digest == load_model().digest
    assert [(act.act, act.by, act.why) for act in registry.history()] == [
        ("added", "Dr A", "trained on eight sites"), ("promoted", "Dr B", "better"), ("rolled_back", "Dr C", "worse"),
    ]  # fmt: skip
    with pytest.raises(BundleError, match="none to go back to"):
        registry.roll_back(by="Dr C", why="once more")


def test_rolling_back_leads_to_the_promotion_before(registry, source, tmp_path, report):
    added = registry.add(source, by="a", evaluation=report(tmp_path / "any.json"))
    own = load_model().digest
    for digest in (added.digest, own, added.digest):
        registry.promote(digest, by="a", why="test")
    assert registry.roll_back(by="a", why="test").digest == own
    assert registry.roll_back(by="a", why="test").digest == added.digest


def test_without_an_evaluation_report_nothing_is_promoted(registry, source):
    added = registry.add(source, by="a")
    with pytest.raises(BundleError, match="no evaluation report"):
        registry.promote(added.digest, by="a", why="hurry")
    assert registry.in_force().digest != added.digest


@pytest.mark.parametrize(
    "changes",
    [
        {"format": "other"},
        {"bundle": "00" * 32},
        {"bundle": None},
        {"sites": {"a": 39}},
        {"sites": None},
        {"patients": 1},
    ],
)
def test_a_report_can_be_given_later_but_only_one_on_this_bundle(registry, source, tmp_path, report, changes):
    added = registry.add(source, by="a")
    with pytest.raises(BundleError, match="no report on this model"):
        registry.attach(added.digest, report(tmp_path / "r.json", **changes), by="b")
    with pytest.raises(BundleError, match="no evaluation report"):
        registry.promote(added.digest, by="a", why="hurry")
    registry.attach(added.digest[:9], report(tmp_path / "r.json"), by="b", why="30 patients of two sites")
    assert registry.promote(added.digest, by="c", why="evaluated").digest == added.digest
    assert [act.act for act in registry.history()] == ["added", "evaluated", "promoted"]
    with pytest.raises(BundleError, match="comes with fedpet"):
        registry.attach(load_model().digest, report(tmp_path / "r.json"), by="b")


def test_a_report_that_was_changed_or_is_not_signed_is_refused(registry, source, tmp_path, report):
    added = registry.add(source, by="a")
    text = report(tmp_path / "r.json").read_text()
    unsigned = json.loads(text)
    del unsigned["signature"]
    changed = [text.replace("0.66", "0.76"), text.replace('"value": "M', '"value": "N'), json.dumps(unsigned)]
    for one in changed:
        assert one != text
        (tmp_path / "changed.json").write_text(one)
        with pytest.raises(BundleError, match="not signed, or was changed"):
            registry.attach(added.digest, tmp_path / "changed.json", by="b")
    registry.attach(added.digest, tmp_path / "r.json", by="b")
    (added.folder / EVALUATION).write_text(changed[0])  # in the registry itself
    with pytest.raises(BundleError, match="not signed, or was changed"):
        registry.promote(added.digest, by="c", why="better")


def test_only_the_model_s_own_federation_or_this_installation_signs(registry, untrained_bundle, source, tmp_path):
    """A centre that the card does not name may not vouch for the model; the one that it names may."""
    centre, stranger = own_signer(tmp_path / "centre"), own_signer(tmp_path / "stranger")
    named = tmp_path / "named"
    card = {k: v for k, v in untrained_bundle.card.items() if k not in {"format", "contract_fingerprint"}}
    bundle = write_bundle(
        named,
        onnx=untrained_bundle.onnx.read_bytes(),
        weights=untrained_bundle.weights.read_bytes(),
        contract=untrained_bundle.contract,
        calibration=untrained_bundle.calibration,
        card={**card, "coordinator_sha256": centre.fingerprint},
    )
    for signer, accepted in ((stranger, False), (centre, True)):
        path = tmp_path / "r.json"
        path.write_text(json.dumps(signer.sign(REPORT | {"bundle": bundle.digest})))
        if accepted:
            assert registry.add(named, by="a", evaluation=path).digest == bundle.digest
        else:
            with pytest.raises(BundleError, match=stranger.fingerprint[:16]):
                registry.add(named, by="a", evaluation=path)
    path.write_text(json.dumps(centre.sign(REPORT | {"bundle": untrained_bundle.digest})))
    with pytest.raises(BundleError, match=centre.fingerprint[:16]):
        registry.add(source, by="a", evaluation=path)


def test_the_training_s_own_figures_in_the_card_promote_nothing(registry, tmp_path):
    """Figures of a training are written by whoever trained; the report is by those who hold other patients."""
    own = load_model()
    copy = tmp_path / "copy"
    card = {key: value for key, value in own.card.items() if key not in {"format", "contract_fingerprint"}}
    write_bundle(
        copy,
        onnx=own.onnx.read_bytes(),
        weights=own.weights.read_bytes(),
        contract=own.contract,
        calibration=own.calibration,
        card={**card, "name": "copy", "evaluation": {"patients": 1, "auc": 0.99}},
    )
    added = registry.add(copy, by="a")
    with pytest.raises(BundleError, match="no evaluation report"):
        registry.promote(added.digest, by="a", why="0.99")


@pytest.mark.parametrize("place", ["inside", "beside"])
def test_a_report_in_or_beside_the_folder_is_found(registry, source, place, report):
    report(source / EVALUATION if place == "inside" else source.with_name(f"{source.name}.{EVALUATION}"))
    assert evaluation_of(registry.add(source, by="a"))["sites"] == REPORT["sites"]


@pytest.mark.parametrize(
    "content", ["{", "[]", "{}", '{"patients": 0, "auc": 0.7}', '{"patients": 12}', '{"patients": 9, "auc": {}}']
)
def test_what_is_no_report_is_refused_and_nothing_is_kept(registry, source, tmp_path, content):
    (tmp_path / "report.json").write_text(content)
    with pytest.raises(BundleError, match="no report on this model"):
        registry.add(source, by="a", evaluation=tmp_path / "report.json")
    assert [path.name for path in registry.folder.iterdir()] == [".lock"]


def test_the_report_of_another_bundle_is_refused(registry, source, tmp_path, report):
    with pytest.raises(BundleError, match="no report on this model"):
        registry.add(source, by="a", evaluation=report(tmp_path / "r.json", bundle="00" * 32))


def test_a_damaged_bundle_is_neither_added_nor_promoted_nor_used(registry, source, tmp_path, report):
    written = report(tmp_path / "any.json")
    added = registry.add(source, by="a", evaluation=written)
    with pytest.raises(BundleError, match="already"):
        registry.add(source, by="a", evaluation=written)
    (source / "card.md").write_text("changed")
    with pytest.raises(CorruptBundleError):
        registry.add(source, by="a")
    registry.promote(added.digest, by="a", why="test")
    (added.folder / "card.md").write_text("changed")
    for use in (registry.in_force, lambda: registry.find(added.digest)):
        with pytest.raises(CorruptBundleError, match=r"card\.md"):
            use()
    assert [(one.in_force, type(one.refused)) for one in registry.held()] == [
        (False, type(None)), (True, CorruptBundleError),
    ]  # fmt: skip
    assert registry.roll_back(by="a", why="damaged").digest == load_model().digest


def test_a_bundle_changed_together_with_its_checksums_is_noticed(registry, source):
    added = registry.add(source, by="a")
    shutil.rmtree(added.folder)
    shutil.copytree(load_model().folder, added.folder)
    with pytest.raises(CorruptBundleError, match="another one"):
        registry.find(added.digest)


def test_an_ambiguous_or_unknown_fingerprint_is_refused(registry):
    for digest in ("", "nothing"):
        with pytest.raises(BundleError, match="0 models"):
            registry.find(digest)


def test_the_setting_goes_before_and_says_so(registry, source):
    fixed = Registry(registry.folder, source)
    assert fixed.in_force().folder == source
    assert len(fixed.held()) == 2
    with pytest.raises(BundleError, match="setting"):
        fixed.promote(load_model().digest, by="a", why="test")


def test_two_at_once_both_leave_their_line(registry, source, tmp_path, report):
    added = registry.add(source, by="a", evaluation=report(tmp_path / "any.json"))
    own = load_model().digest

    def turn(number):
        try:
            registry.promote((added.digest, own)[number % 2], by=f"user {number}", why="race")
        except BundleError:
            return 0
        return 1

    with ThreadPoolExecutor(4) as pool:
        done = sum(pool.map(turn, range(8)))
    promoted = json.loads((registry.folder / "registry.json").read_text())["promoted"]
    assert len(promoted) == done == sum(act.act == "promoted" for act in registry.history())
