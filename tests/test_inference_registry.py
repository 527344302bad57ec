"""The registry: what may be promoted, what is in force, and that nothing else ever is."""

from __future__ import annotations

import json
import shutil
from concurrent.futures import ThreadPoolExecutor

import pytest

from fedpet.errors import BundleDamaged, BundleRefused
from inference.bundle import Bundle
from inference.registry import EVALUATION, Registry, evaluation_of

REPORT = {"patients": 40, "observed_c_index": {"model": 0.66}}


@pytest.fixture
def registry(tmp_path):
    return Registry(tmp_path / "models")


@pytest.fixture
def source(untrained_bundle, tmp_path):
    """A bundle that brings no evaluation report in its card."""
    return shutil.copytree(untrained_bundle.folder, tmp_path / "new model")


def _report(path, **changes):
    path.write_text(json.dumps(REPORT | changes))
    return path


def test_without_a_promotion_the_demonstration_model_is_in_force(registry):
    assert registry.in_force().digest == Bundle.chosen(None).digest
    assert all(one.synthetic for one in registry.held())
    assert [(one.digest, one.in_force, one.patients) for one in registry.held()] == [
        (Bundle.chosen(None).digest, True, 400)
    ]
    assert not registry.folder.exists()


def test_an_evaluated_bundle_is_promoted_and_rolled_back_with_who_and_why(registry, source, tmp_path):
    added = registry.add(source, by="Dr A", why="trained on eight sites", evaluation=_report(tmp_path / "any.json"))
    assert registry.in_force().digest != added.digest  # added is not promoted
    shutil.rmtree(source)  # the registry has its own copy
    assert registry.promote(added.digest[:8], by="Dr B", why="better").digest == added.digest
    assert registry.in_force().folder == registry.folder / added.digest
    assert evaluation_of(registry.in_force())["patients"] == 40
    assert registry.roll_back(by="Dr C", why="worse").digest == Bundle.chosen(None).digest
    assert registry.in_force().digest == Bundle.chosen(None).digest
    assert [(act.act, act.by, act.why) for act in registry.history()] == [
        ("added", "Dr A", "trained on eight sites"), ("promoted", "Dr B", "better"), ("rolled_back", "Dr C", "worse"),
    ]  # fmt: skip
    with pytest.raises(BundleRefused, match="none to go back to"):
        registry.roll_back(by="Dr C", why="once more")


def test_rolling_back_leads_to_the_promotion_before(registry, source, tmp_path):
    added = registry.add(source, by="a", evaluation=_report(tmp_path / "any.json"))
    own = Bundle.chosen(None).digest
    for digest in (added.digest, own, added.digest):
        registry.promote(digest, by="a", why="test")
    assert registry.roll_back(by="a", why="test").digest == own
    assert registry.roll_back(by="a", why="test").digest == added.digest


def test_without_an_evaluation_report_nothing_is_promoted(registry, source):
    added = registry.add(source, by="a")
    with pytest.raises(BundleRefused, match="no evaluation report"):
        registry.promote(added.digest, by="a", why="hurry")
    assert registry.in_force().digest != added.digest


@pytest.mark.parametrize("place", ["inside", "beside"])
def test_a_report_in_or_beside_the_folder_is_found(registry, source, place):
    _report(source / EVALUATION if place == "inside" else source.with_name(f"{source.name}.{EVALUATION}"))
    assert evaluation_of(registry.add(source, by="a")) == REPORT


@pytest.mark.parametrize(
    "content", ["{", "[]", "{}", '{"patients": 0, "auc": 0.7}', '{"patients": 12}', '{"patients": 9, "auc": {}}']
)
def test_what_is_no_report_is_refused_and_nothing_is_kept(registry, source, tmp_path, content):
    (tmp_path / "report.json").write_text(content)
    with pytest.raises(BundleRefused, match="no report on this model"):
        registry.add(source, by="a", evaluation=tmp_path / "report.json")
    assert [path.name for path in registry.folder.iterdir()] == [".lock"]


def test_the_report_of_another_bundle_is_refused(registry, source, tmp_path):
    with pytest.raises(BundleRefused, match="no report on this model"):
        registry.add(source, by="a", evaluation=_report(tmp_path / "r.json", bundle="00" * 32))


def test_a_damaged_bundle_is_neither_added_nor_promoted_nor_used(registry, source, tmp_path):
    report = _report(tmp_path / "any.json")
    added = registry.add(source, by="a", evaluation=report)
    with pytest.raises(BundleRefused, match="already"):
        registry.add(source, by="a", evaluation=report)
    (source / "card.md").write_text("changed")
    with pytest.raises(BundleDamaged):
        registry.add(source, by="a")
    registry.promote(added.digest, by="a", why="test")
    (added.folder / "card.md").write_text("changed")
    for use in (registry.in_force, lambda: registry.find(added.digest)):
        with pytest.raises(BundleDamaged, match=r"card\.md"):
            use()
    assert [(one.in_force, type(one.refused)) for one in registry.held()] == [
        (False, type(None)), (True, BundleDamaged),
    ]  # fmt: skip
    assert registry.roll_back(by="a", why="damaged").digest == Bundle.chosen(None).digest


def test_a_bundle_changed_together_with_its_checksums_is_noticed(registry, source):
    added = registry.add(source, by="a")
    shutil.rmtree(added.folder)
    shutil.copytree(Bundle.chosen(None).folder, added.folder)
    with pytest.raises(BundleDamaged, match="another one"):
        registry.find(added.digest)


def test_an_ambiguous_or_unknown_fingerprint_is_refused(registry):
    for digest in ("", "nothing"):
        with pytest.raises(BundleRefused, match="0 models"):
            registry.find(digest)


def test_the_setting_goes_before_and_says_so(registry, source):
    fixed = Registry(registry.folder, source)
    assert fixed.in_force().folder == source
    assert len(fixed.held()) == 2
    with pytest.raises(BundleRefused, match="setting"):
        fixed.promote(Bundle.chosen(None).digest, by="a", why="test")


def test_two_at_once_both_leave_their_line(registry, source, tmp_path):
    added = registry.add(source, by="a", evaluation=_report(tmp_path / "any.json"))
    own = Bundle.chosen(None).digest

    def turn(number):
        try:
            registry.promote((added.digest, own)[number % 2], by=f"user {number}", why="race")
        except BundleRefused:
            return 0
        return 1

    with ThreadPoolExecutor(4) as pool:
        done = sum(pool.map(turn, range(8)))
    promoted = json.loads((registry.folder / "registry.json").read_text())["promoted"]
    assert len(promoted) == done == sum(act.act == "promoted" for act in registry.history())
