import time

import pytest

from fedpet.core.profile import Profile, Stage, profiled, stage


def _work(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


@stage(Stage.LESIONS)
def _lesions():
    _work(0.02)
    with stage(Stage.ANATOMY):  # computed when the lesions first need it
        _work(0.06)


def test_a_stage_inside_another_counts_for_itself_alone():
    with profiled() as profile:
        _work(0.01)
        _lesions()
        with pytest.raises(ValueError, match="planted"), stage(Stage.MODEL):
            raise ValueError("planted")
        _lesions()
    took = {name: one.cpu_s for name, one in profile.stages.items()}
    assert took[Stage.LESIONS] == pytest.approx(0.04, abs=0.01)
    assert took[Stage.ANATOMY] == pytest.approx(0.12, abs=0.01)
    assert took[Stage.OTHER] == pytest.approx(0.01, abs=0.01)
    assert Stage.MODEL in took
    assert Stage.START not in took
    assert profile.total.cpu_s == pytest.approx(sum(took.values()))
    assert Profile.from_json(profile.to_json()).stages == profile.stages
    assert (profile + profile).total.cpu_s == pytest.approx(2 * profile.total.cpu_s)


def test_nothing_is_counted_while_nobody_asks():
    _lesions()
    with profiled() as profile:
        pass
    assert set(profile.stages) == {Stage.OTHER}
