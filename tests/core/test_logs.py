"""Logs: what kind of error and where, never what a person wrote."""

import logging
import sys
import threading

import pytest

from fedpet.core.logs import describe, discreet_logs


@pytest.fixture
def discreet():
    before = logging.getLogRecordFactory(), sys.excepthook, threading.excepthook
    discreet_logs()
    yield
    logging.setLogRecordFactory(before[0])
    sys.excepthook, threading.excepthook = before[1:]


def _fail():
    try:
        int("M. DUPONT")
    except ValueError as error:
        raise KeyError("ZZRECORD") from error


def test_an_error_is_told_by_its_kind_and_its_place():
    with pytest.raises(KeyError) as caught:
        _fail()
    told = describe(caught.value)
    assert "KeyError at test_logs.py:" in told
    assert "from ValueError at test_logs.py:" in told
    assert "DUPONT" not in told
    assert "ZZRECORD" not in told


@pytest.mark.usefixtures("discreet")
def test_no_logger_writes_the_words_of_an_error(caplog):
    logger = logging.getLogger("another.library")
    try:
        _fail()
    except KeyError as error:
        logger.exception("it failed")
        logger.warning("it failed: %s", error)
        logger.warning(error)
    thread = threading.Thread(target=_fail)
    thread.start()
    thread.join()
    assert caplog.text.count("KeyError") >= 3
    assert "DUPONT" not in caplog.text
    assert "ZZRECORD" not in caplog.text
