"""What leaves a site, message by message: the table of docs/federation.md, and what a test compares with the wire."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

RECEIVED: Final = "received.json"  # in the researcher's output folder: fields of the messages, where they are recorded


@dataclass(frozen=True)
class Egress:
    """A kind of content that leaves a site.

    Attributes:
        message: Fed-BioMed's name of the message.
        fields: of it.
        content: what they say.
        when: they are sent.
        protection: what keeps it from telling of a single patient.
    """

    message: str
    fields: tuple[str, ...]
    content: str
    when: str
    protection: str


_ADDRESS: Final = ("node_id", "node_name", "researcher_id", "experiment_id", "request_id", "protocol_version")

EGRESS: Final = (
    Egress(
        "SearchReply",
        (*_ADDRESS, "databases", "count"),
        "name of the data, tags, id; fedpet's version, digest of the sources, contract, number of patients, whether"
        " they are synthetic",
        "when the researcher searches, before any approval",
        "a number of patients, no outcome",
    ),
    Egress(
        "TrainReply",
        ("params",),
        "parameters after local training, means and mean squares of the clinical inputs, or sums of a Newton fit over"
        " all patients (number, loss, gradient, Hessian; once also without each fold; once the inputs and their"
        " squares; once the losses by the fits without a fold, a sum for each ridge; once the outer products of scores"
        " and the derivatives by interactions with time); sums of losses, of their changes since the last model that"
        " the site took, whether it takes this one, in a training that leaves the site out the number, sum and sum of"
        " squares of what a learned term gains for its patients (from the policy's minimum_centre on), events and the"
        " cells of the risk and outcome tables over the validation patients; in an evaluation over all patients, and"
        " from the policy's minimum_centre on the site's own merged table",
        "every round, and once more to validate",
        "masked: only the sum over three or more sites can be read. In clear only from nodes that allow it",
    ),
    Egress(
        "TrainReply",
        ("sample_size", "timing"),
        "number of training patients; seconds",
        "every round",
        "a number of patients, above the policy's minimum",
    ),
    Egress(
        "TrainReply",
        ("encrypted", "encryption_factor"),
        "a number that both sides know, masked, which finds incomplete sums",
        "every round",
        "it uncovers the first entry of the vector, which says nothing for this reason",
    ),
    Egress(
        "TrainReply",
        ("optim_aux_var",),
        "corrections of Scaffold",
        "every round of Scaffold",
        "none: refused under secure aggregation",
    ),
    Egress(
        "TrainReply",
        (*_ADDRESS, "success", "msg", "dataset_id", "state_id", "optimizer_args"),
        "whether the round succeeded and, if not, why: the sentence of the error",
        "every round",
        "errors hold numbers of patients and shapes, no patient and no path of ours",
    ),
    Egress(
        "Log",
        ("node_id", "level", "msg"),
        "Fed-BioMed's own log lines for the researcher (its steps and its errors), kept in researcher.log",
        "while a node works",
        "no line of ours; an error names its kind",
    ),
    Egress(
        "SecaggReply",
        (*_ADDRESS, "secagg_id", "success", "msg"),
        "that the masks are agreed",
        "before the masks are used",
        "nothing of a patient",
    ),
    Egress(
        "OverlayMessage",
        (
            *_ADDRESS,
            *("dest_node_id", "overlay", "setup", "salt", "nonce", "signature"),
        ),
        "public keys between the nodes, which the researcher passes on encrypted",
        "before the masks are used",
        "nothing of a patient",
    ),
    Egress(
        "TrainingPlanStatusReply",
        (*_ADDRESS, "success", "approval_obligation", "status", "msg", "training_plan", "training_plan_id"),
        "the status of the plan at the site, and its text",
        "before the first round",
        "nothing of a patient",
    ),
    Egress(
        "ApprovalReply",
        (*_ADDRESS, "message", "status", "success", "training_plan_id"),
        "that the plan was received for review",
        "where it is not approved",
        "nothing of a patient",
    ),
    Egress("PingReply", (*_ADDRESS,), "that the node is there", "when it is asked", "nothing of a patient"),
    Egress(
        "ErrorMessage",
        (*_ADDRESS, "errnum", "extra_msg"),
        "that a request was not understood",
        "then",
        "an error names its kind",
    ),
)


def egress_table() -> str:
    """The table in Markdown; a test holds docs/federation.md to it."""
    rows = ["| message | what | when | protection |", "|---|---|---|---|"]
    for one in EGRESS:
        fields = ", ".join(f"`{name}`" for name in one.fields if name not in _ADDRESS)
        said = f"{one.content} ({fields})" if fields else one.content
        rows.append(f"| {one.message} | {said} | {one.when} | {one.protection} |")
    return "\n".join(rows)
