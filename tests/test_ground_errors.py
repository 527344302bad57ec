import inspect

from fedpet import errors
from fedpet.errors import BundleDamaged, FedpetError
from fedpet.messages import Message, say


def test_the_tree_in_the_docstring_is_the_tree():
    for name, error in inspect.getmembers(errors, inspect.isclass):
        if issubclass(error, FedpetError):
            assert name in errors.__doc__


def test_an_error_says_found_needed_and_advice():
    error = BundleDamaged(found=Message("Found."), needed=Message("Needed."), advice=Message("Do it."))
    assert str(error) == "Found. Needed. Do it."
    assert error.translate(say("en")) == str(error)
