"""The attributes that PS3.3 asks for in every object of a kind, by the tables of the standard that highdicom ships."""

import json
from functools import cache
from importlib import resources

_LABEL_MAP, _SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.7", "1.2.840.10008.5.1.4.1.1.66.4"
_BY_VALUE = (
    "functional-groups",
    "document-content",
)  # modules whose tables give no conditions


@cache
def _table(name):
    return json.loads((resources.files("highdicom") / "_standard" / f"{name}.json").read_text(encoding="utf-8"))


def violations(dataset):
    """What a data set lacks, as "module: path, type": mandatory modules, attributes of type 1 and 2, at every depth.

    Type 1 must hold a value, type 2 must be there. What has a condition is not looked at. Label Map Segmentation is
    newer than the tables, and has the modules of Segmentation.
    """
    return [
        f"{module}: {'/'.join([*row['path'], row['keyword']])}, type {row['type']}"
        for module, row, parent in _asked(dataset)
        if row["keyword"] not in parent or (row["type"] == "1" and parent[row["keyword"]].is_empty)
    ]


def asked(dataset):
    """How many attributes `violations` looks at."""
    return sum(1 for _ in _asked(dataset))


def _asked(dataset):
    kind = _SEGMENTATION if dataset.SOPClassUID == _LABEL_MAP else dataset.SOPClassUID
    for module in _table("iod_module_map")[_table("sop_class_iod_map")[kind]]:
        if module["usage"] == "M" and not module["key"].endswith(_BY_VALUE):
            for row in _table("module_attribute_map")[module["key"]]:
                if row["type"] in ("1", "2"):
                    yield from ((module["key"], row, parent) for parent in _at(dataset, row["path"]))


def _at(dataset, path):
    """The items at a path: none where a sequence on the way is absent."""
    items = [dataset]
    for keyword in path:
        items = [inner for item in items if keyword in item for inner in item[keyword].value or ()]
    return items
