"""Headers of real scanners as the SUV vectors of the reference data hold them, and Philips' private factors."""

from __future__ import annotations

import json

from pydicom.dataset import Dataset

VECTORS = (
    "PHILIPS_BQML", "PHILIPS_CNTS_AND_BQML_SUV", "PHILIPS_CNTS_AND_SUV", "SIEMENS", "GE_MEDICAL_AND_BQML",
    "BQML_AC_DT_lessThan_S_DT_SIEMENS", "CPS_AND_BQML_AC_DT_-_S_DT", "RADIOPHARM_DATETIME_UNDEFINED",
)  # fmt: skip


def philips(headers, *, creator="Philips PET Private Group", block=0x10, **factors):
    """Write Philips' private factors, `suv` and `activity`, into headers."""
    elements = {"suv": 0x00, "activity": 0x09}
    for one in headers:
        if creator:
            one.add_new((0x7053, block), "LO", creator)
        for name, value in factors.items():
            # as text it is of unknown representation, as pydicom leaves what it finds without its creator
            kind, written = ("UN", value.encode()) if isinstance(value, str) else ("DS", value)
            one.add_new((0x7053, (block << 8) + elements[name]), kind, written)
    return headers


def vector_headers(folder, name):
    """The headers of one vector."""
    headers = []
    for record in json.loads((folder / f"{name}-instances.json").read_text()):
        header, drug = Dataset(), Dataset()
        for keyword, value in record.items():
            if keyword.startswith("Radio"):
                setattr(drug, keyword, str(value))
            elif keyword != "PhilipsPETPrivateGroup":
                setattr(header, keyword, value if isinstance(value, list) else str(value))
        names = {"SUVScaleFactor": "suv", "ActivityConcentrationScaleFactor": "activity"}
        philips([header], **{names[key]: value for key, value in record["PhilipsPETPrivateGroup"].items()})
        header.RadiopharmaceuticalInformationSequence = [drug]
        header.RescaleSlope, header.RescaleIntercept = "1", "0"
        headers.append(header)
    return headers
