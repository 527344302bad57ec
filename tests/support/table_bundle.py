"""A bundle whose answer rests on the lesion table: a linear score with weights that the test chooses."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from onnx import TensorProto, checker, helper, numpy_helper

from inference.bundle.storage import Bundle, write_bundle
from inference.calibration import RiskCalibration, SetLimits
from inference.input_contract import InputContract, table_contract

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

WEIGHTS = {
    "lesion:tmtv_ml": 0.30,
    "lesion:dmax_mm": 0.15,
    "lesion:necrotic_share": 0.20,
    "lesion:liver_lesion": 0.40,
    "lesion:marrow_to_liver": 0.25,
    "ecog_2": 0.35,
}
_RATES = {"pfs_12m": 0.4, "dcb_6m": 0.55, "early_failure_3m": 0.25}


def table_bundle(folder: Path, weights: Mapping[str, float] | None = None) -> Bundle:
    """Write the bundle into a new folder; inputs without a weight have none."""
    contract = table_contract()
    covariance = tuple(tuple(0.01 * (i == j) for j in range(6)) for i in range(6))
    return write_bundle(
        folder,
        onnx=_linear(contract, WEIGHTS if weights is None else weights),
        weights=b"",
        contract=contract,
        calibration=RiskCalibration(
            0.0, 1.0, (0.0,) * 4, covariance, 0.80, _RATES, (-0.2, 0.2), dict.fromkeys(_RATES, SetLimits(0.6, 0.6))
        ),
        card={"name": "table", "version": "0", "synthetic": True},
    )


def _linear(contract: InputContract, weights: Mapping[str, float]) -> bytes:
    """contributions = weights x inputs; score = their sum; hazard logits = score - 2."""
    n, k = len(contract.inputs), len(contract.month_edges) - 1
    constants = {
        "weights": np.array([weights.get(name, 0.0) for name in contract.inputs], np.float32),
        "baseline": np.full(k, -2.0, np.float32),
        "axis": np.array([1], np.int64),
        "nothing": np.array([0], np.int64),
    }
    nodes = [
        helper.make_node("Mul", ["clinical", "weights"], ["contributions"]),
        helper.make_node("ReduceSum", ["contributions", "axis"], ["sum"], keepdims=1),
        helper.make_node("Add", ["sum", "baseline"], ["hazard_logits"]),
        helper.make_node("Squeeze", ["sum", "axis"], ["score"]),
        helper.make_node("Slice", ["clinical", "nothing", "nothing", "axis"], ["biomarkers"]),
        helper.make_node("Slice", ["image", "nothing", "nothing", "axis"], ["maps"]),
    ]
    image = ["batch", 2, *contract.shape]
    shapes = {"hazard_logits": ["batch", k], "score": ["batch"], "biomarkers": ["batch", 0],
              "maps": ["batch", 0, *contract.shape], "contributions": ["batch", n]}  # fmt: skip
    graph = helper.make_graph(
        nodes,
        "table",
        [_tensor("image", image), _tensor("clinical", ["batch", n])],
        [_tensor(name, shape) for name, shape in shapes.items()],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    checker.check_model(model)
    return bytes(model.SerializeToString())


def _tensor(name: str, shape: list[int | str]):
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
