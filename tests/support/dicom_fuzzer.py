"""Damaged PET/CT studies, each made from a number: the same number makes the same damage.

`Fuzzer(dicom).write(seed, folder)` writes one study; `outcome(source)` loads and inspects it as a user would and names
what came of it. Used by `tests/test_imaging_fuzz.py` and, for long runs, `benchmarks/imaging_fuzz.py`.
"""

from __future__ import annotations

import io
import random
import zipfile

import numpy as np
import pydicom
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from fedpet.core.errors import StudyError
from fedpet.imaging.analysis import StudyAnalysis
from fedpet.imaging.loading import inspect_study, load_study

KEY = b"key of a centre"
IDENTITY = ("DUPONT", "Jeanne", "HOSP-4711")
_OPENING = b"\x08\x00\x15\x11SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff"
_VALUES = (
    b"", b"nan", b"inf", b"1e400", b"1e300", b"-1", b"0", b"1e-300", b"\\", b"1\\2\\3\\4\\5\\6\\7", b"\xff\xfe\xfd",
    b"99999999999", b"00010101", b"99991231235959",
)  # fmt: skip
_REPRESENTATIONS = (b"AE", b"CS", b"DS", b"FD", b"IS", b"LO", b"OB", b"PN", b"SQ", b"UI", b"UL", b"UN", b"US", b"ZZ")
_EXTREMES = {
    "Rows": 65535, "Columns": 65535, "NumberOfFrames": 10**9, "BitsAllocated": 64, "BitsStored": 0, "HighBit": 99,
    "SamplesPerPixel": 3, "PixelRepresentation": 7, "RescaleSlope": "1e308", "RescaleIntercept": "-1e308",
    "PixelSpacing": [0, 1e9], "ImagePositionPatient": [1e30, -1e30, 0], "ImageOrientationPatient": [0] * 6,
    "FrameReferenceTime": "1e300", "ActualFrameDuration": "0", "PatientWeight": "1e-300", "PatientSize": "inf",
    "AcquisitionTime": "999999", "SeriesDate": "00000000", "TimezoneOffsetFromUTC": "+9999", "DecayFactor": "-5",
}  # fmt: skip


class Fuzzer:
    """Sound studies of many encodings, and ways to damage them."""

    def __init__(self, dicom):
        suv = np.linspace(0.1, 5, 6 * 33 * 32).reshape(6, 33, 32)
        hu = np.linspace(-1000, 1000, 6 * 34 * 36).astype(int).reshape(6, 34, 36)
        pet, ct = dicom.pet(suv), dicom.ct(hu)
        plain = [dicom.to_bytes(one) for one in pet + ct]
        self._studies = {
            "explicit": plain,
            "implicit": [_encoded(content, ImplicitVRLittleEndian) for content in plain],
            "big endian": [_encoded(content, ExplicitVRBigEndian) for content in plain],
            "deflated": [_encoded(content, DeflatedExplicitVRLittleEndian) for content in plain],
            "rle": [_encoded(content, RLELossless) for content in plain],
            "jpeg-ls": [_encoded(content, JPEGLSLossless) for content in plain],
            "jpeg 2000": [_encoded(content, JPEG2000Lossless) for content in plain],
            "enhanced": [dicom.to_bytes(dicom.enhanced(one, series=name)) for name, one in (("a", pet), ("b", ct))],
            "converted": [dicom.to_bytes(dicom.legacy_converted(one)) for one in (pet, ct)],
        }

    def write(self, seed, folder):
        """Write a damaged study into `folder`; return its path and what was done to it."""
        rng = random.Random(seed)  # noqa: S311  damage need not be secret
        kind = rng.choice([*self._studies])
        contents = list(self._studies[kind])
        damage = [rng.choice(_DAMAGES) for _ in range(rng.choice((1, 1, 2, 4)))]
        damage.sort(key=_DAMAGES.index)  # what needs a sound file first
        shared = rng.random() < 0.5  # the same damage to every file passes checks that compare the slices
        spoilt = range(len(contents)) if shared else rng.sample(range(len(contents)), rng.randint(1, len(contents)))
        for place in spoilt:
            own = random.Random(seed if shared else rng.random())  # noqa: S311  as above
            for one in damage:
                contents[place] = one(contents[place], own)
        label = f"{kind}: {', '.join(one.__name__.strip('_') for one in damage)}"
        if rng.random() < 0.4:
            return _archive(contents, folder / "study.zip", rng), f"{label}, zipped"
        source = folder / "study"
        source.mkdir()
        for place, content in enumerate(contents):
            (source / f"{place:03d}").write_bytes(content)
        return source, label


def outcome(source):
    """ "loaded" or the class of the refusal; anything else that is raised is a fault."""
    report = inspect_study(source, pseudonym_key=KEY)
    shown = f"{report}"
    try:
        study = load_study(source, pseudonym_key=KEY)
        shown += "".join(str(check.reason) for check in StudyAnalysis(study).checks)
        result = "loaded"
    except StudyError as refusal:
        shown += str(refusal)
        result = type(refusal).__name__
    leaked = [part for part in IDENTITY if part in shown]
    if leaked:
        raise AssertionError(f"identity in a message: {leaked}")
    return result


def _encoded(content, syntax):
    dataset = pydicom.dcmread(io.BytesIO(content))
    if syntax.is_encapsulated:
        dataset.compress(syntax, generate_instance_uid=False)
    elif not syntax.is_little_endian:
        dataset.PixelData = np.frombuffer(dataset.PixelData, "<i2").astype(">i2").tobytes()
    dataset.file_meta.TransferSyntaxUID = syntax
    return _written(dataset)


def _written(dataset):
    syntax = dataset.file_meta.TransferSyntaxUID
    list(dataset.iterall())  # elements not yet converted cannot change their byte order
    dataset.set_original_encoding(syntax.is_implicit_VR, syntax.is_little_endian)
    stream = io.BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def _archive(contents, path, rng):
    """A zip archive, often damaged itself or with odd names."""
    names = ["../up", "/abs", "C:\\w", "a/b", "dup", "dup", "x" * 3000, "naïve", " ", "con", "..", "\\\\h\\s"]
    with zipfile.ZipFile(path, "w", rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as archive:
        for place, content in enumerate(contents):
            archive.writestr(zipfile.ZipInfo(names[place % len(names)] if rng.random() < 0.3 else f"{place}"), content)
    content = bytearray(path.read_bytes())
    directory = content.find(b"PK\x01\x02")
    for _ in range(rng.choice((0, 0, 1, 3, 20))):
        start = directory if rng.random() < 0.8 else 0
        content[rng.randrange(start, len(content))] ^= 1 << rng.randrange(8)
    if rng.random() < 0.1:
        content = content[: rng.randrange(len(content))]
    path.write_bytes(content)
    return path


def _header_bytes(content):
    """How much of a file is header, about: pixels are less interesting."""
    at = max(content.rfind(b"\xe0\x7f\x10\x00"), content.rfind(b"\x7f\xe0\x00\x10"))
    return at if at > 200 else len(content)


def _cut_off(content, rng):
    return content[: rng.randrange(len(content) + 1)]


def _flip_bits(content, rng):
    damaged = bytearray(content)
    end = _header_bytes(content) if rng.random() < 0.8 else len(content)
    for _ in range(rng.choice((1, 1, 2, 8, 40))):
        if end > 128:
            damaged[rng.randrange(128, end)] ^= 1 << rng.randrange(8)
    return bytes(damaged)


def _zero_a_block(content, rng):
    start, length = rng.randrange(len(content) + 1), rng.randrange(1, 200)
    return content[:start] + bytes(len(content[start : start + length])) + content[start + length :]


def _random_block(content, rng):
    start, length = rng.randrange(len(content) + 1), rng.randrange(1, 100)
    return content[:start] + rng.randbytes(length) + content[start + length * rng.randrange(2) :]


def _elements(content):
    """Where the elements of a file in explicit little endian start, and how long each is with its header."""
    found, at = [], 132
    while at + 12 <= len(content) and content[at + 4 : at + 6].isalpha():
        long_form = content[at + 6 : at + 8] == b"\0\0" and content[at + 4 : at + 6] in (
            b"OB",
            b"OW",
            b"SQ",
            b"UN",
            b"UT",
        )
        length = int.from_bytes(content[at + 8 : at + 12] if long_form else content[at + 6 : at + 8], "little")
        size = length + (12 if long_form else 8)
        if at + size > len(content):
            break
        found.append((at, size))
        at += size
    return found or [(132, max(0, len(content) - 132))]


def _change_a_length(content, rng):
    at, _ = rng.choice(_elements(content))
    told = rng.choice((0, 1, 3, 0xFF, 0xFFFF, 0xFFFE, 0x7FFF)).to_bytes(2, "little")
    wide = rng.choice((0xFFFFFFFF, 0xFFFFFFFE, 0x7FFFFFFF, 0, 7)).to_bytes(4, "little")
    if rng.random() < 0.5:
        return content[: at + 6] + told + content[at + 8 :]
    return content[: at + 8] + wide + content[at + 12 :]


def _swap_a_representation(content, rng):
    at, _ = rng.choice(_elements(content))
    return content[: at + 4] + rng.choice(_REPRESENTATIONS) + content[at + 6 :]


def _double_an_element(content, rng):
    at, size = rng.choice(_elements(content))
    there, _ = rng.choice(_elements(content))
    return content[:there] + content[at : at + size] + content[there:]


def _leave_an_element_out(content, rng):
    at, size = rng.choice(_elements(content))
    return content[:at] + content[at + size :]


def _odd_value(content, rng):
    at, size = rng.choice(_elements(content))
    value = rng.choice(_VALUES)
    return content[: at + 6] + len(value).to_bytes(2, "little") + value + content[at + size :]


def _nest_deeply(content, rng):
    at, _ = rng.choice(_elements(content))
    return content[:at] + _OPENING * rng.choice((10, 70, 10_000)) + content[at:]


def _nest_deeply_with_lengths(content, rng):
    at, _ = rng.choice(_elements(content))
    tag = rng.choice((b"\x08\x00\x15\x11", b"\x54\x00\x16\x00", b"\x00\x52\x30\x92"))
    inner = b""
    for _ in range(rng.choice((10, 300, 2000))):
        item = b"\xfe\xff\x00\xe0" + len(inner).to_bytes(4, "little") + inner
        inner = tag + b"SQ\0\0" + len(item).to_bytes(4, "little") + item
    return content[:at] + inner + content[at:]


def _extreme_attribute(content, rng):
    def spoil(dataset):
        keyword = rng.choice([*_EXTREMES])
        setattr(dataset, keyword, _EXTREMES[keyword])

    return _respoken(content, spoil, rng)


def _change_an_inner_element(content, rng):
    """Delete, empty or replace one element at any depth: of functional groups, of the tracer."""

    def spoil(dataset):
        places = []
        stack = [dataset]
        while stack:
            one = stack.pop()
            for element in one:
                if element.tag.group != 0x7FE0:
                    places.append((one, element))
                if element.VR == "SQ":
                    stack.extend(element.value)
        one, element = rng.choice(places)
        act = rng.randrange(4)
        if act == 0:
            del one[element.tag]
        elif act == 1:
            element.value = None if element.VR != "SQ" else []
        elif element.VR == "SQ":
            element.value = [*element.value, *element.value][: rng.randrange(1, 2 * len(element.value) + 2)]
        else:
            one[element.tag] = pydicom.DataElement(element.tag, "UN", rng.choice(_VALUES))

    return _respoken(content, spoil, rng)


def _respoken(content, spoil, rng):
    """The file read, changed by `spoil` and written again; where that fails, bits are flipped instead."""
    try:
        dataset = pydicom.dcmread(io.BytesIO(content))
        spoil(dataset)
        return _written(dataset)
    except Exception:  # noqa: BLE001  a file damaged before may fail in any way here, and that is not what is tested
        return _flip_bits(content, rng)


_DAMAGES = (
    _extreme_attribute, _extreme_attribute, _change_an_inner_element, _change_an_inner_element,
    _change_an_inner_element, _flip_bits, _flip_bits, _zero_a_block, _random_block, _change_a_length, _change_a_length,
    _swap_a_representation, _double_an_element, _leave_an_element_out, _odd_value, _odd_value, _nest_deeply,
    _nest_deeply_with_lengths, _cut_off,
)  # fmt: skip
