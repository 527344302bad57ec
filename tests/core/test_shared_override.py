"""A setting of another library, held by several threads at once."""

import threading
from types import SimpleNamespace

import pytest

from fedpet.core.shared_override import SharedOverride


@pytest.fixture
def library():
    return SimpleNamespace(mode="strict")


def test_the_value_is_in_force_inside_only(library):
    override = SharedOverride(library, "mode", "tolerant")
    assert library.mode == "strict"
    with override.held(), override.held():
        assert library.mode == "tolerant"
    assert library.mode == "strict"


def test_an_error_puts_it_back(library):
    override = SharedOverride(library, "mode", "tolerant")
    with pytest.raises(KeyError), override.held():
        raise KeyError
    assert library.mode == "strict"


def test_what_it_was_when_entered_comes_back(library):
    override = SharedOverride(library, "mode", "tolerant")
    with override.held():
        pass
    library.mode = "changed"
    with override.held():
        assert library.mode == "tolerant"
    assert library.mode == "changed"


def test_the_thread_that_leaves_first_takes_nothing_from_the_one_inside(library):
    override = SharedOverride(library, "mode", "tolerant")
    entered, leave = threading.Event(), threading.Event()

    def hold():
        with override.held():
            entered.set()
            leave.wait(10)

    other = threading.Thread(target=hold)
    with override.held():
        other.start()
        assert entered.wait(10)
    assert library.mode == "tolerant"
    leave.set()
    other.join()
    assert library.mode == "strict"
