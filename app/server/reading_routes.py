"""What the viewer asks of the server while a case is read: each request is bound to its user and to the case.

The answers are JSON; one that is not successful has a `message` in the language of the page.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse
from starlette.routing import Route

from app.screens.case.lesions import is_correctable, proposals_for, table_data
from app.screens.layout.localization import Localization
from app.services import FILES
from app.viewer.description import read_description
from fedpet.core.errors import ArgumentError, FedpetError
from fedpet.core.messages import Message, translate_message

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from starlette.requests import Request

    from app.access.sessions import User
    from app.cases.options import CaseOptions
    from app.cases.tables import Case
    from app.services import Services
    from fedpet.core.messages import Language

    _Act = Callable[[Services, User, Case, dict[str, Any]], dict[str, Any]]

_NOT_NOW = 409
_AXES, _FAR_MM = 3, 1e4


def reading_routes(services: Services) -> list[Route]:
    """The routes; `request_guard` admits readers only, and requests of pages of this application only."""
    acts = {"reading": _confirm, "lesions": _correct, "marks": _keep_marks}
    return [
        Route(f"{FILES}/{{case_id:uuid}}/{name}", _route(services, act), methods=["POST"]) for name, act in acts.items()
    ]


def _route(services: Services, act: _Act) -> Callable[[Request], Coroutine[Any, Any, JSONResponse]]:
    """A route that acts on a case which its user may see; 404 for others."""

    async def respond(request: Request) -> JSONResponse:
        try:
            content = await request.json()
        except ValueError:
            return JSONResponse({}, status_code=400)
        if not isinstance(content, dict):
            return JSONResponse({}, status_code=400)
        return await run_in_threadpool(_respond, services, request, act, content)

    return respond


def _respond(services: Services, request: Request, act: _Act, content: dict[str, Any]) -> JSONResponse:
    session = services.access.session(request.cookies)
    user, case_id = services.access.user(session), str(request.path_params["case_id"])
    case = services.store.get(case_id)
    if user is None or case is None:
        return JSONResponse({}, status_code=404)
    if not user.sees(case):
        services.access.refuse(session, "case", case=case_id)
        return JSONResponse({}, status_code=404)
    try:
        return JSONResponse(act(services, user, case, content), headers={"Cache-Control": "no-store"})
    except FedpetError as error:
        translate = translate_message(_language(content))
        sentences = (translate(one) for one in error.sentences)
        return JSONResponse({"message": " ".join(sentences)}, status_code=_NOT_NOW)


def _confirm(services: Services, user: User, case: Case, content: dict[str, Any]) -> dict[str, Any]:
    """Keep that the reader confirms the lesions, with their estimate; the answer is shown from now on."""
    services.workflow.confirm_reading(
        case.id,
        actor=user.name,
        estimate=_share(content.get("estimate")),
        blind=services.settings.blind_reading,
        shown=str(content.get("shown", "")),
    )
    return {}


def _correct(services: Services, user: User, case: Case, content: dict[str, Any]) -> dict[str, Any]:
    """Let lesions be corrected (`app.cases.lesion_editing`); "open" and "preview" change nothing yet."""
    if content.get("do") == "open":
        if is_correctable(case) and services.store.source(case.id).is_dir():
            services.editors.warm(case)
        return {}
    if not services.store.source(case.id).is_dir():
        raise ArgumentError(
            found=Message("The images of this case are not here any more."),
            needed=Message("The files as they were received."),
            advice=Message("Send the study again as a new case."),
        )
    if content.get("do") == "preview":
        asked = {"point": _point(content.get("point")), "threshold": content.get("threshold")}
        return services.editors.ask(case, {"grow": asked})

    def measure(options: CaseOptions) -> dict[str, Any]:
        return services.editors.ask(case, {"options": options.to_json()})

    shown = str(content.get("shown", ""))
    services.workflow.correct_lesions(case.id, content, actor=user.name, measure=measure, shown=shown)
    now = services.store.require(case.id)
    volumes = read_description(services.store.folder(case.id))["volumes"]
    proposed = proposals_for(now, user, services.store)
    return {
        "lesions": table_data(now, now.stored_result, Localization(_language(content)), services.settings, proposed),
        "entry": next(one for one in volumes if one["name"] == "lesions"),
    }


def _keep_marks(services: Services, _: User, case: Case, content: dict[str, Any]) -> dict[str, Any]:
    marks = content.get("marks")
    services.workflow.keep_marks(case.id, marks if isinstance(marks, dict) else {})
    return {}


def _language(content: dict[str, Any]) -> Language:
    return "en" if content.get("language") == "en" else "fr"


def _point(value: object) -> list[float]:
    """A point in LPS mm.

    Raises:
        ArgumentError: it is none.
    """
    numbers = value if isinstance(value, list) else []
    if len(numbers) != _AXES or not all(isinstance(one, int | float) and abs(one) < _FAR_MM for one in numbers):
        raise ArgumentError(
            found=Message("This is no point of the images."),
            needed=Message("Three coordinates in mm."),
            advice=Message("Point at the uptake that is to be outlined."),
        )
    return [float(one) for one in numbers]


def _share(value: object) -> float | None:
    """A probability from 0 to 1, or None.

    Raises:
        ArgumentError: it is neither.
    """
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0.0 <= value <= 1.0:
        raise ArgumentError(
            found=Message("The estimate is no probability."),
            needed=Message("A number from 0 to 1, or none."),
            advice=Message("Move the slider again."),
        )
    return float(value)
