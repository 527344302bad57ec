import inspect

from fedpet.core import errors
from fedpet.core.errors import CorruptBundleError, FedpetError
from fedpet.core.messages import Message, translate_message


def test_the_tree_in_the_docstring_is_the_tree():
    for name, error in inspect.getmembers(errors, inspect.isclass):
        if issubclass(error, FedpetError):
            assert name in errors.__doc__


def test_an_error_says_found_needed_and_advice():
    error = CorruptBundleError(found=Message("Found."), needed=Message("A bundle."), advice=Message("Do it."))
    assert str(error) == "Found. Needed: A bundle. Do it."
    assert error.translate(translate_message("en")) == str(error)
