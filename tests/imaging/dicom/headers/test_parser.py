from __future__ import annotations

import io

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from fedpet.imaging.dicom.headers.attributes import TAG_SET, TAGS, text
from fedpet.imaging.dicom.headers.parser import DeflatedError, inflate, parse_header

SUV = np.full((1, 4, 4), 2.0)


def written(dataset, syntax=ExplicitVRLittleEndian, *, preamble=True):
    dataset.file_meta.TransferSyntaxUID = syntax
    stream = io.BytesIO()
    dataset.save_as(stream, enforce_file_format=preamble)
    return stream.getvalue()


def by_pydicom(content):
    """Wanted elements, transfer syntax and place of the pixels as pydicom finds them."""
    stream = io.BytesIO(content)
    header = pydicom.dcmread(stream, stop_before_pixels=True, force=True, specific_tags=TAGS)
    return pydicom.Dataset(header), header.file_meta.get("TransferSyntaxUID"), stream.tell()


def require_same(content):
    expected, syntax, at = by_pydicom(content)
    head = parse_header(io.BytesIO(content), TAG_SET)
    assert head.header == expected
    assert (head.syntax, head.pixels_at) == (syntax or head.syntax, at)
    return head


@pytest.fixture
def rich(dicom):
    """A header with nested sequences of undefined length, large private values and another character set."""
    (dataset,) = dicom.pet(SUV, SeriesDescription="TEP corrigée")
    dicom.to_bytes(dataset)
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.PatientName = "Müller^Jürgen"
    block = dataset.private_block(0x0029, "TEST", create=True)
    block.add_new(1, "OB", bytes(70_000))  # longer than what is read ahead
    block.add_new(2, "SQ", [nested(5), nested(1)])
    dataset.RequestAttributesSequence = [nested(3)]
    code = Dataset()
    code.CodeValue, code.CodeMeaning = "C-B1031", "Fluorodésoxyglucose"
    dataset.RadiopharmaceuticalInformationSequence[0].RadiopharmaceuticalCodeSequence = [code]
    for element in dataset.iterall():
        if element.VR == "SQ":
            element.value.is_undefined_length = True
            for item in element.value:
                item.is_undefined_length_sequence_item = True
    return dataset


def nested(depth):
    item = Dataset()
    item.Rows, item.PatientName = depth, "inner"
    if depth:
        item.ReferencedSeriesSequence = Sequence([nested(depth - 1)])
    return item


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
@pytest.mark.parametrize("undefined", [False, True])
def test_a_header_is_read_as_pydicom_reads_it(rich, syntax, undefined):
    for element in rich.iterall():
        if element.VR == "SQ" and not undefined:
            element.value.is_undefined_length = False
            for item in element.value:
                item.is_undefined_length_sequence_item = False
    head = require_same(written(rich, syntax))
    assert text(head.header, "PatientName") == "Müller^Jürgen"
    assert text(head.header, "SeriesDescription") == "TEP corrigée"
    (tracer,) = head.header.RadiopharmaceuticalInformationSequence
    assert tracer.RadiopharmaceuticalCodeSequence[0].CodeMeaning == "Fluorodésoxyglucose"


@pytest.mark.parametrize("kind", ["big endian", "bare", "UN"])
def test_what_is_unusual_is_read_by_pydicom(rich, kind):
    if kind == "big endian":
        content = written(rich, ExplicitVRBigEndian)
    elif kind == "bare":
        content = written(rich, ImplicitVRLittleEndian)
        content = content[content.index(b"\x08\x00\x05\x00") :]
    else:
        rich.add_new((0x0031, 0x1001), "UN", b"\xfe\xff\x00\xe0\x00\x00\x00\x00")
        content = written(rich).replace(
            b"\x31\x00\x01\x10UN\0\0\x08\0\0\0\xfe\xff\x00\xe0\x00\x00\x00\x00",
            b"\x31\x00\x01\x10UN\0\0\xff\xff\xff\xff\xfe\xff\xdd\xe0\x00\x00\x00\x00",
        )
        assert b"UN\0\0\xff\xff\xff\xff" in content
    require_same(content)


@pytest.mark.parametrize("announced", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian])
@pytest.mark.parametrize("actual", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_uncompressed_data_are_read_in_the_encoding_they_have_not_in_the_one_announced(rich, announced, actual):
    start = b"\x08\x00\x05\x00"
    plain = written(rich, actual)
    meta = written(rich)[: written(rich).index(start)]
    content = meta.replace(_padded(ExplicitVRLittleEndian), _padded(announced)) + plain[plain.index(start) :]
    head, expected = (parse_header(io.BytesIO(one), TAG_SET) for one in (content, plain))
    assert head.syntax == actual
    assert head.header == expected.header
    assert content[head.pixels_at :] == plain[expected.pixels_at :]


def _padded(syntax):
    """A transfer syntax as an element of the meta information, with its length."""
    value = syntax.encode() + b"\0" * (len(syntax) % 2)
    return len(value).to_bytes(2, "little") + value


def test_a_deflated_file_becomes_a_plain_one(rich):
    plain = written(rich)
    stream = io.BytesIO(written(rich, "1.2.840.10008.1.2.1.99"))
    with pytest.raises(DeflatedError) as found:
        parse_header(stream, TAG_SET)
    target, counted = io.BytesIO(), []
    inflate(stream, found.value.start, target, counted.append)
    head = parse_header(io.BytesIO(target.getvalue()), TAG_SET)
    assert head.syntax == ExplicitVRLittleEndian
    assert head.header == parse_header(io.BytesIO(plain), TAG_SET).header
    assert target.getvalue()[head.pixels_at :][:44] == plain[-44:]
    assert sum(counted) == len(target.getvalue()) - found.value.start


def element(tag, vr, value):
    group, number = tag
    long_form = b"\0\0" + len(value).to_bytes(4, "little") if vr in ("SQ", "OB", "UN") else None
    length = long_form or len(value).to_bytes(2, "little")
    return group.to_bytes(2, "little") + number.to_bytes(2, "little") + vr.encode() + length + value


def file_of(*elements):
    meta = element((2, 0x10), "UI", b"1.2.840.10008.1.2.1\0")
    return bytes(128) + b"DICM" + meta + b"".join(elements)


def test_ten_thousand_nested_sequences_are_damage_not_a_crash():
    opening = b"\x08\x00\x15\x11SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff"
    with pytest.raises(ValueError, match="nested too deeply"):
        parse_header(io.BytesIO(file_of(opening * 10_000)), TAG_SET)


def test_more_items_or_bytes_than_a_header_has_are_not_read(monkeypatch):
    monkeypatch.setattr("fedpet.imaging.dicom.headers.parser.LARGEST_VALUE", 1000)
    name = element((0x10, 0x10), "PN", b"A" * 2000)
    with pytest.raises(ValueError, match="larger than a header's"):
        parse_header(io.BytesIO(file_of(name[:-1])), TAG_SET)
    monkeypatch.setattr("fedpet.imaging.dicom.headers.parser.MAX_SEQUENCE_ITEMS", 10)
    items = element((0x08, 0x1115), "SQ", b"\xfe\xff\x00\xe0\0\0\0\0" * 11)
    with pytest.raises(ValueError, match="more than pydicom may be given"):
        parse_header(io.BytesIO(items), TAG_SET)


@pytest.mark.parametrize("cut", [3, 9, 11])
def test_a_header_that_ends_too_early_is_damage_or_ends_there(cut):
    name = element((0x10, 0x10), "PN", b"DUPONT")
    content = file_of(element((8, 0x60), "CS", b"PT"), name)
    try:
        head = parse_header(io.BytesIO(content[:-cut]), TAG_SET)
    except EOFError:
        return
    assert text(head.header, "Modality") == "PT"
    assert "PatientName" not in head.header


@pytest.mark.reference_data
def test_real_headers_are_read_as_pydicom_reads_them(reference_data):
    folders = ("dro/DRO_0_0", "dro/DRO_5_0", "small/ct_mct_j2klossless_20slices", "sts/STS_002")
    files = [path for folder in folders for path in sorted((reference_data / folder).rglob("*")) if path.is_file()]
    for file in files[::9]:
        content = file.read_bytes()
        if content[128:132] == b"DICM":
            require_same(content)
