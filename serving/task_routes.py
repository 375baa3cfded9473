"""Tasks over HTTP, in BentoML's protocol, so that its client works.

POST <route>/submit           the route's request -> {"task_id", "status", ...}
GET  <route>/status?task_id=  how far it is, with a preview
GET  <route>/get?task_id=     the answer, or the error it ended with; 409 before its end
PUT  <route>/cancel?task_id=  stops it between two steps
POST <route>/retry?task_id=   the same request as a new task
"""

from typing import Annotated, Any, cast

from fastapi import APIRouter, Query
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from components.settings import settings
from serving.body_limit import read
from serving.documents import BINARY, ERRORS, documented
from serving.drawing import ROUTES, answered
from serving.submitting import submit_of
from serving.tasks import Task, Tasks, TaskStatus

router = APIRouter(tags=["tasks"])


def tasks_of(http: Request) -> Tasks:
    """The service's."""
    return cast(Tasks, http.app.state.tasks)


def _owner(http: Request) -> str:
    return str(http.scope.get("state", {}).get("key", ""))


def _submitted(http: Request, request: Any) -> Task:
    return tasks_of(http).submit(submit_of(http), request, _owner(http), settings().task_seconds)


TaskId = Annotated[str, Query(max_length=64, description="Of the answer to submit.")]


async def status(task_id: TaskId, http: Request) -> TaskStatus:
    """How far a task is."""
    return tasks_of(http).find(task_id, _owner(http)).told()


async def get(task_id: TaskId, http: Request) -> Response:
    """The answer of a task, as its route gives it; 409 before its end, 410 of a cancelled one."""
    return answered(tasks_of(http).find(task_id, _owner(http)).answer())


async def cancel(task_id: TaskId, http: Request) -> TaskStatus:
    """Stop a task between two steps; an ended one stays as it is."""
    task = tasks_of(http).find(task_id, _owner(http))
    task.job.cancel()
    return task.told()


async def retry(task_id: TaskId, http: Request) -> TaskStatus:
    """The same request as a new task."""
    return _submitted(http, tasks_of(http).find(task_id, _owner(http)).request).told()


def _add(path: str, schema: type[BaseModel]) -> None:
    """The five routes of one; those without a request stand in the document once, under /generate."""

    async def submit(http: Request) -> TaskStatus:
        return _submitted(http, await read(schema, http)).told()

    about = documented(schema)
    about |= {"responses": ERRORS, "response_model": TaskStatus, "status_code": 202}
    router.add_api_route(f"{path}/submit", submit, methods=["POST"], **about)
    shown: dict[str, Any] = {"responses": ERRORS, "include_in_schema": path == "/generate"}
    router.add_api_route(f"{path}/status", status, methods=["GET"], **shown)
    router.add_api_route(f"{path}/get", get, methods=["GET"], response_model=None, **_drawn(shown))
    router.add_api_route(f"{path}/cancel", cancel, methods=["PUT"], **shown)
    router.add_api_route(f"{path}/retry", retry, methods=["POST"], status_code=202, **shown)


def _drawn(shown: dict[str, Any]) -> dict[str, Any]:
    return {**shown, "responses": {**ERRORS, 200: {"content": {"*/*": BINARY}, "description": "What was drawn."}}}


for _path, _schema in ROUTES.items():
    _add(_path, _schema)
