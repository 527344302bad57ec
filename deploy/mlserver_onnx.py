"""A runtime of MLServer for the repository that `fedpet model export-triton` writes: ONNX Runtime on the CPU.

Beside the `config.pbtxt` of a model lies a `model-settings.json` for MLServer:

    {"name": "<folder's name>", "implementation": "mlserver_onnx.OnnxModel", "parameters": {"uri": "./1/model.onnx"}}
"""

import onnxruntime
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse, MetadataModelResponse, MetadataTensor
from mlserver.utils import get_model_uri


class OnnxModel(MLModel):
    """One ONNX file."""

    async def load(self) -> bool:
        """Open the session."""
        self._session = onnxruntime.InferenceSession(
            await get_model_uri(self._settings), providers=["CPUExecutionProvider"]
        )
        return True

    async def metadata(self) -> MetadataModelResponse:
        """Inputs and outputs of the graph; a size that it leaves open is -1."""
        inputs, outputs = (
            [
                MetadataTensor(
                    name=one.name,
                    datatype="FP32",
                    shape=[size if isinstance(size, int) else -1 for size in one.shape],
                )
                for one in tensors
            ]
            for tensors in (self._session.get_inputs(), self._session.get_outputs())
        )
        return MetadataModelResponse(
            name=self.name, versions=[self.version or "1"], platform="onnxruntime_onnx", inputs=inputs, outputs=outputs
        )

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """The outputs that are asked for, or all."""
        feed = {one.name: NumpyCodec.decode_input(one) for one in payload.inputs}
        names = [one.name for one in payload.outputs or ()] or [one.name for one in self._session.get_outputs()]
        found = self._session.run(names, feed)
        return InferenceResponse(
            model_name=self.name,
            model_version=self.version,
            outputs=[NumpyCodec.encode_output(name, array) for name, array in zip(names, found, strict=True)],
        )
