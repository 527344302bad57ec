"""The network of a bundle on an inference server: the Open Inference Protocol (KServe v2) over HTTP, tensors as JSON.

Triton, KServe, MLServer and OpenVINO Model Server speak it. The request holds the two tensors that the network reads
and nothing else: no identifier, no pseudonym, no file name. JSON writes each number so that it is read back the same.
"""

from __future__ import annotations

import http.client
import json
import ssl
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

import numpy as np

from fedpet.core.errors import InferenceServerError
from fedpet.core.messages import Message
from inference.bundle.triton import EMPTY_OF_TABLES, repository_name

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from fedpet.core.connection_settings import InferenceServerSettings
    from inference.bundle.storage import Bundle

_MAX_ANSWER = 512 * 2**20  # bytes: maps of a million voxels take less than 100 MB
_REFUSALS = {401, 403}


class RemoteNetwork:
    """What an ONNX Runtime session offers to `inference.engine.Engine`, answered by a server.

    Attributes:
        description: for the result and the report.
    """

    def __init__(self, bundle: Bundle, settings: InferenceServerSettings, outputs: Sequence[str]) -> None:
        """Ask the server for the model and compare its inputs and outputs with those of the bundle.

        Args:
            bundle: the model; its digest is part of the name that the server is asked for.
            settings: of the server.
            outputs: of the network, in order.

        Raises:
            InferenceServerError: the server cannot be reached, refuses, has no such model, or another one.
        """
        self._settings, self._outputs, self._contract = settings, tuple(outputs), bundle.contract
        self._model = settings.model or repository_name(bundle)
        self._host = urlsplit(settings.url).netloc
        self.description = f"Open Inference Protocol v2 ({self._host})"
        self._headers = {"Content-Type": "application/json", "Accept": "application/json"} | self._authorization()
        self._compare(self._asked("GET", ""))

    def run(self, feed: Mapping[str, NDArray[np.float32]]) -> list[NDArray[np.float32]]:
        """The outputs, in order, for the inputs by name, each with the patients along its first axis.

        Raises:
            InferenceServerError: no answer in time, or one that is not of this network.
        """
        inputs = [
            {"name": name, "shape": list(array.shape), "datatype": "FP32", "data": array.ravel().tolist()}
            for name, array in feed.items()
        ]
        wanted = [{"name": name} for name in self._outputs if name not in self._absent]
        answer = self._asked("POST", "/infer", {"inputs": inputs, "outputs": wanted})
        patients = len(next(iter(feed.values())))
        found = {str(one.get("name")): one for one in _objects(answer.get("outputs"))}
        return [self._array(name, found.get(name), patients) for name in self._outputs]

    def _array(self, name: str, tensor: Mapping[str, Any] | None, patients: int) -> NDArray[np.float32]:
        if tensor is None and name in self._absent:
            return np.zeros((patients, 0), np.float32)
        try:
            array = np.asarray(tensor["data"], np.float32).reshape(tensor["shape"])  # type: ignore[index]
        except (KeyError, TypeError, ValueError):
            raise self._wrong(Message("The output {name} is missing or cannot be read.", name=name)) from None
        width = {"hazard_logits": len(self._contract.month_edges) - 1}.get(name)
        if array.shape[:1] != (patients,) or (width and array.shape[1:] != (width,)):
            shape = "x".join(map(str, array.shape))
            raise self._wrong(Message("The output {name} has the shape {shape}.", name=name, shape=shape))
        if name == "score":
            array = array.reshape(patients, -1)[:, 0]
        if not np.isfinite(array).all():
            raise self._wrong(Message("The output {name} holds values that are no numbers.", name=name))
        return array

    def _compare(self, metadata: Mapping[str, Any]) -> None:
        """Refuse a model whose inputs or outputs are not those of the bundle."""
        inputs = {str(one.get("name")): one for one in _objects(metadata.get("inputs"))}
        needed = {"image": self._contract.image_shape, "clinical": (len(self._contract.inputs),)}
        for name, shape in needed.items():
            offered = inputs.get(name, {})
            sizes = offered.get("shape") or ()
            alike = len(sizes) == len(shape) + 1 and all(
                there in {-1, here} for there, here in zip(sizes[1:], shape, strict=True)
            )
            if offered.get("datatype") != "FP32" or not alike:
                raise self._wrong(Message("Its input {name} is not that of the network.", name=name))
        outputs = {str(one.get("name")) for one in _objects(metadata.get("outputs"))}
        empty = EMPTY_OF_TABLES if self._contract.quantities else frozenset()
        self._absent = empty - outputs  # Triton takes no tensor without elements
        if set(inputs) != set(needed) or outputs | self._absent != set(self._outputs):
            raise self._wrong(Message("Its inputs and outputs are not those of the network."))

    def _authorization(self) -> dict[str, str]:
        if not self._settings.has_secret:
            return {}
        secret = self._settings.read_secret()
        if not secret or not secret.isprintable():
            raise InferenceServerError(
                found=Message("The token for the inference server is missing or holds more than one line."),
                needed=Message("It in the variable secret_env or in the file secret_file of inference_server."),
                advice=Message("Set the variable or write the file, readable by you only."),
            )
        return {"Authorization": f"Bearer {secret}"}

    def _asked(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        parts = urlsplit(self._settings.url)
        where = f"{parts.path.rstrip('/')}/v2/models/{quote(self._model)}{path}"
        content = None if body is None else json.dumps(body).encode()
        connection = self._connection()
        try:
            connection.request(method, where, content, self._headers)
            response = connection.getresponse()
            status, answer = response.status, response.read(_MAX_ANSWER + 1)
        except TimeoutError:
            raise self._unreachable(Message("It did not answer in {n:g} s.", n=self._settings.timeout_s)) from None
        except ssl.SSLError as error:
            why = getattr(error, "verify_message", "") or error.reason or type(error).__name__
            raise self._unreachable(Message("The encrypted connection failed ({why}).", why=why)) from None
        except (OSError, http.client.HTTPException) as error:
            why = getattr(error, "strerror", None) or type(error).__name__
            raise self._unreachable(Message("There is no connection ({why}).", why=why)) from None
        finally:
            connection.close()
        return self._understood(status, answer)

    def _connection(self) -> http.client.HTTPConnection:
        """Of its own for each question, so that processes and threads do not share one; no redirection is followed."""
        parts, timeout = urlsplit(self._settings.url), self._settings.timeout_s
        host = parts.hostname or ""
        if parts.scheme == "http":
            return http.client.HTTPConnection(host, parts.port, timeout=timeout)
        try:
            context = self._settings.caller_context()
        except (OSError, ssl.SSLError) as error:
            why = getattr(error, "strerror", None) or type(error).__name__
            raise self._unreachable(Message("A certificate of the settings cannot be read ({why}).", why=why)) from None
        return http.client.HTTPSConnection(host, parts.port, timeout=timeout, context=context)

    def _understood(self, status: int, answer: bytes) -> dict[str, Any]:
        if status in _REFUSALS:
            raise InferenceServerError(
                found=Message("The inference server {host} refuses (HTTP {status}).", host=self._host, status=status),
                needed=Message("A token that it accepts, in secret_env or secret_file of inference_server."),
                advice=Message("Renew the token, or ask for the right to use the model."),
            )
        if status != http.HTTPStatus.OK:  # the body is the server's, and could repeat what was sent
            raise self._wrong(Message("It answers HTTP {status}.", status=status))
        try:
            content = json.loads(answer) if len(answer) <= _MAX_ANSWER else None
        except ValueError:
            content = None
        if not isinstance(content, dict):
            raise self._wrong(Message("Its answer cannot be read."))
        return content

    def _unreachable(self, why: Message) -> InferenceServerError:
        return InferenceServerError(
            found=Message("The inference server {host} cannot be used. {why}", host=self._host, why=why),
            needed=Message("A server that answers within timeout_s, with a certificate that this machine trusts."),
            advice=Message("Check inference_server in the settings and the server, or leave it out to compute here."),
        )

    def _wrong(self, why: Message) -> InferenceServerError:
        return InferenceServerError(
            found=Message("The inference server {host} does not answer as this model. {why}", host=self._host, why=why),
            needed=Message("The model “{model}” on it, as `fedpet model export-triton` writes it.", model=self._model),
            advice=Message("Put that model on the server, or leave inference_server out to compute here."),
        )


def _objects(value: object) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []
