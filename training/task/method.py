"""Aggregation and privacy of a training; combinations that Fed-BioMed would ignore or corrupt are refused.

The rules of `FederatedMethod.require_sound` come from measurements and from the source of Fed-BioMed 6.4.1, which
accepts every one of these combinations and then trains something else than requested.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from fedpet.core.errors import FederationError
from fedpet.core.messages import Message
from inference.network import TableAndCropsNetwork, TableNetwork

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import nn

FOLDS = 5  # of the cross-validation of an exact fit
MASKED_SITES = 3  # with two, each could subtract its own contribution from the sum
MASKED_RANGE = 6  # secure aggregation clips parameters to +- this; Fed-BioMed's own 3 is below our first biases
_MASKED_PARAMETERS = 2_000_000
_JOYE_LIBERT_PARAMETERS = 20_000


class Aggregation(BaseModel):
    """Table `[aggregation]`.

    `fedavg` averages, weighted by training patients. `fedprox` adds proximal / 2 times the squared distance from the
    round's first parameters to every site's loss. `scaffold` corrects the sites' gradients for their drift (SGD at the
    sites). `server` lets an optimiser of declearn take the average's step; `server_rate` is its learning rate.
    `newton` fits a linear network exactly (`training.task.newton_fit`): by one of the `ridges`, of several the one that
    cross-validation over `folds` chooses; `centre_ridge` is the precision of the centres' own intercepts, 0 for none.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    method: Literal["fedavg", "fedprox", "scaffold", "newton"] = "fedavg"
    proximal: float = Field(default=0.0, ge=0.0)
    server: Literal["none", "momentum", "adagrad", "adam", "yogi"] = "none"
    server_rate: float | None = Field(default=None, gt=0.0)
    personal: tuple[str, ...] = ()  # beginnings of the names of parameters that never leave a site
    ridges: tuple[Annotated[float, Field(gt=0.0)], ...] = Field(default=(3.0, 10.0, 30.0, 100.0, 300.0), min_length=1)
    folds: int = Field(default=FOLDS, ge=2, le=20)
    centre_ridge: float = Field(default=35.0, ge=0.0)


class Privacy(BaseModel):
    """Table `[privacy]`: `clip` and `noise` together switch local differential privacy on (`training.task.privacy`)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    secure_aggregation: Literal["lom", "joye-libert", "none"] = "lom"
    clip: float | None = Field(default=None, gt=0.0)
    noise: float | None = Field(default=None, gt=0.0)
    delta: float = Field(default=1e-3, gt=0.0, lt=1.0)

    @property
    def local(self) -> bool:
        """Whether the sites train with differential privacy."""
        return self.noise is not None and self.clip is not None


class FederatedMethod(BaseModel):
    """Aggregation and privacy of a training; by default FedAvg under secure aggregation."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    aggregation: Aggregation = Aggregation()
    privacy: Privacy = Privacy()

    @property
    def masked(self) -> bool:
        """Whether the researcher only sees sums (secure aggregation)."""
        return self.privacy.secure_aggregation != "none"

    def is_personal(self, name: str) -> bool:
        """Whether a parameter stays at its site."""
        return name.startswith(self.aggregation.personal) if self.aggregation.personal else False

    def largest_parameter(self, network: nn.Module) -> float:
        """Size of the largest parameter that leaves a site."""
        shared = (parameter for name, parameter in network.named_parameters() if not self.is_personal(name))
        return max((float(parameter.detach().abs().max()) for parameter in shared), default=0.0)

    def require_sound(self, network: nn.Module, sites: int) -> None:
        """Refuse combinations that would not have the effect they declare.

        Args:
            network: to be trained, with its first parameters.
            sites: the smallest number of sites in a round.

        Raises:
            FederationError: the first rule that is broken.
        """
        rules = (
            self._of_aggregation,
            self._of_scaffold,
            self._of_newton,
            self._of_personal,
            self._of_masks,
            self._of_noise,
        )
        for rule in rules:
            for found, needed, advice in rule(network, sites):
                raise FederationError(found=found, needed=needed, advice=advice)

    def _of_aggregation(self, _: nn.Module, __: int) -> Iterator[tuple[Message, Message, Message]]:
        aggregation = self.aggregation
        prox, named = aggregation.method == "fedprox", {"method": aggregation.method, "value": aggregation.proximal}
        if prox != (aggregation.proximal > 0.0):
            yield (
                Message("The method {method} with proximal = {value:g}.", **named),
                Message("FedProx has a proximal weight above 0; for the other methods it would be ignored."),
                Message("Set method = “fedprox” and proximal, for example 0.01, or neither."),
            )
        if prox and self.privacy.local:
            yield (
                Message("FedProx with local differential privacy."),
                Message("Per-patient gradients do not contain the proximal term: it would be silently ignored."),
                Message("Use FedAvg with differential privacy, or FedProx without."),
            )
        if (aggregation.server == "none") != (aggregation.server_rate is None):
            yield (
                Message("Only one of server and server_rate."),
                Message("A server optimiser has a rate: for adam, yogi and adagrad about the step of a parameter."),
                Message("Set both, for example “adam” and 0.01, or neither."),
            )

    def _of_scaffold(self, _: nn.Module, __: int) -> Iterator[tuple[Message, Message, Message]]:
        if self.aggregation.method != "scaffold":
            return
        if self.masked:
            yield (
                Message("Scaffold with secure aggregation."),
                Message(
                    "Fed-BioMed averages the masked corrections which Scaffold needs as a sum: they would be wrong."
                ),
                Message("Use FedProx with secure aggregation, or Scaffold with secure_aggregation = “none”."),
            )
        if self.privacy.local:
            yield (
                Message("Scaffold with local differential privacy."),
                Message("Differential privacy needs a torch optimiser at the sites; Scaffold has its own."),
                Message("Use FedAvg with differential privacy."),
            )
        if self.aggregation.server != "none" or self.aggregation.personal:
            yield (
                Message("Scaffold with a server optimiser or with personal parameters."),
                Message("The corrections are those of the plain step on all parameters."),
                Message("Leave server and personal out, or use FedAvg or FedProx."),
            )

    def _of_newton(self, network: nn.Module, _: int) -> Iterator[tuple[Message, Message, Message]]:
        if self.aggregation.method != "newton":
            return
        if not isinstance(network, TableNetwork):
            yield (
                Message("Newton's method for a network that is not linear in its inputs."),
                Message("The network “table” or “clinical”."),
                Message("Set network = “table”, or method = “fedavg”."),
            )
        if self.privacy.local:
            yield (
                Message("Newton's method with local differential privacy."),
                Message("Sums of gradients and Hessians carry no noise here: epsilon would be a false promise."),
                Message("Use FedAvg with differential privacy, or Newton without."),
            )
        if self.aggregation.server != "none" or self.aggregation.personal:
            yield (
                Message("Newton's method with a server optimiser or with personal parameters."),
                Message("The step follows from the sums alone; the sites' intercepts stay there anyway."),
                Message("Leave server and personal out."),
            )

    def _of_personal(self, network: nn.Module, _: int) -> Iterator[tuple[Message, Message, Message]]:
        names = [name for name, _ in network.named_parameters()]
        for beginning in self.aggregation.personal:
            if not any(name.startswith(beginning) for name in names):
                yield (
                    Message("No parameter's name begins with “{beginning}”.", beginning=beginning),
                    Message("Personal parameters are those of the network."),
                    Message("Take one of: {names}.", names=", ".join(sorted({name.split(".")[0] for name in names}))),
                )
        if all(map(self.is_personal, names)):
            yield (
                Message("Every parameter is personal."),
                Message("At least one parameter that is averaged."),
                Message("Remove some parameters from personal."),
            )

    def _of_masks(self, network: nn.Module, sites: int) -> Iterator[tuple[Message, Message, Message]]:
        if not self.masked:
            return
        count = sum(parameter.numel() for parameter in network.parameters())
        if sites < MASKED_SITES:
            yield (
                Message("Secure aggregation with {count} sites.", count=sites),
                Message("At least {count}, or a site could compute another's contribution.", count=MASKED_SITES),
                Message("Raise the minimum number of sites."),
            )
        if any(True for _ in network.buffers()):
            yield (
                Message("Secure aggregation of a network with buffers (running statistics)."),
                Message("Buffers are not bounded: above {limit:g} they would be clipped.", limit=MASKED_RANGE),
                Message("Use a network without batch normalisation."),
            )
        largest = self.largest_parameter(network)
        if largest > MASKED_RANGE:
            yield (
                Message("Secure aggregation of a parameter of size {size:.2f}.", size=largest),
                Message("Parameters within ±{limit:g}: larger ones would be clipped.", limit=MASKED_RANGE),
                Message("Give the network smaller first parameters, or secure_aggregation = “none”."),
            )
        slow = self.privacy.secure_aggregation == "joye-libert"
        limit = _JOYE_LIBERT_PARAMETERS if slow else _MASKED_PARAMETERS
        if count > limit:
            yield (
                Message("Secure aggregation of {count} parameters.", count=count),
                Message("At most {limit} with this scheme; more would take minutes a round.", limit=limit),
                Message("Use “lom”, a smaller network, or none."),
            )

    def _of_noise(self, network: nn.Module, _: int) -> Iterator[tuple[Message, Message, Message]]:
        if self.privacy.local and isinstance(network, TableAndCropsNetwork):
            yield (
                Message("Differential privacy of a learned term of lesions."),
                Message("Gradients by patient; those of this network are by lesion."),
                Message("Train without the learned term, or without differential privacy."),
            )
        if (self.privacy.clip is None) != (self.privacy.noise is None):
            yield (
                Message("Differential privacy with only one of clip and noise."),
                Message("Both: the noise is a multiple of the norm to which gradients are clipped."),
                Message("Set clip, for example 1.0, and noise, or neither."),
            )
        if self.privacy.local and any(True for _ in network.buffers()):
            yield (
                Message("Differential privacy of a network with buffers (running statistics)."),
                Message("Opacus would silently replace its layers."),
                Message("Use a network without batch normalisation."),
            )


def usual_aggregation(network: str) -> Literal["fedavg", "newton"]:
    """The aggregation of a network unless another is named."""
    return "newton" if network in {"table", "tmtv_clinical"} else "fedavg"


UNPROTECTED_METHOD = FederatedMethod(privacy=Privacy(secure_aggregation="none"))
