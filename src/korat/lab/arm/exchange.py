"""One request to ARM and its answer, without HTTP: who may ask, what is done, what is said.

``Arm.answer`` is the whole behaviour; ``lab.arm.app`` only carries it over HTTP. Everything runs
under the model's lock, so requests are serial as Azure's per-resource locks make them.
"""

import re
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from korat.lab.arm.error import ArmError
from korat.lab.arm.fault import Faults
from korat.lab.arm.model import Json, Model
from korat.lab.arm.operations import Form, Operation, Operations, Style, status_body
from korat.lab.arm.path import PROVIDER, Target, parse
from korat.lab.arm.resource import catalogue, interface

_API_VERSION = re.compile(r"\d{4}-\d{2}-\d{2}(-preview)?")


@dataclass(frozen=True, slots=True)
class Request:
    """What HTTP carried; header names in lower case; ``base`` is ``https://host:port``."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    base: str
    body: Json | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What HTTP carries back."""

    status: int
    body: Json | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


class Arm:
    """An ARM: its model, its operations, its faults, and a journal of the last requests."""

    def __init__(
        self, model: Model, token: str, *, faults: Faults | None = None, style: Style | None = None
    ) -> None:
        self.model = model
        self.faults = faults or Faults()
        self.style = style or Style()
        self.journal: deque[tuple[str, str]] = deque(maxlen=10_000)
        self._token = token
        self._operations = Operations()

    def answer(self, request: Request) -> Answer:
        """Do what the request asks; errors are answers too."""
        self.journal.append((request.method, request.path))
        changed = False
        try:
            with self.model.lock:
                answer = self._answer(request)
                changed = request.method in ("PUT", "PATCH", "DELETE")
        except ArmError as error:
            headers = _challenge(error)
            if self.faults.retry_after and error.message == self.faults.message:
                headers["Retry-After"] = self.faults.retry_after
            return Answer(error.status, error.body, headers)
        if changed:
            self.model.changed()
        return answer

    def _answer(self, request: Request) -> Answer:
        self._authenticate(request)
        if fault := self.faults.take(request.method, in_operation=False):
            raise fault
        _check_api_version(request)
        target = parse(request.path)
        self.model.check_scope(target)
        if target.kind == "locations":
            return self._poll(target, request)
        match request.method:
            case "GET":
                return self._get(target)
            case "PUT":
                return self._put(target, request)
            case "PATCH":
                return self._patch(target, request)
            case "DELETE":
                return self._delete(target, request)
            case "POST":
                return self._post(target, request)
            case _:
                raise ArmError(405, "MethodNotAllowed", f"{request.method} is not allowed.")

    def _authenticate(self, request: Request) -> None:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise ArmError(401, "AuthenticationFailed", "The 'Authorization' header is missing.")
        if token != self._token:
            raise ArmError(401, "InvalidAuthenticationToken", "The access token is invalid.")

    def _get(self, target: Target) -> Answer:
        if not target.name or (target.child_kind and not target.child):
            return Answer(200, catalogue.read_all(self.model, target))
        shown = catalogue.read(self.model, target)
        shown["properties"]["provisioningState"] = self._operations.state(target.id)
        return Answer(200, shown, {"ETag": shown["etag"]})

    def _put(self, target: Target, request: Request) -> Answer:
        kind = catalogue.kind_of(target)
        existed = self._check_etag(target, request)
        if request.body is None:
            raise ArmError(400, "InvalidRequestContent", "The request has no JSON body.")
        failure = self.faults.take("PUT", in_operation=True)
        if failure is None or not existed:
            kind.put(self.model, target, request.body)
        shown = catalogue.read(self.model, target)
        status = 200 if existed else 201
        headers = {"ETag": shown["etag"]}
        if self.style.put is Form.BODY:
            self._operations.update(target.id, self.style.polls)
        if self.style.put is not Form.DONE:
            shown["properties"]["provisioningState"] = "Updating"
        if self.style.put in (Form.ASYNC, Form.BOTH) or failure:
            operation = self._operations.start(self.style.polls, shown, failure)
            headers |= self._announce(Form.ASYNC, operation, target, request)
        return Answer(status, shown, headers)

    def _patch(self, target: Target, request: Request) -> Answer:
        self._check_etag(target, request)
        stored = self.model.find(target)
        if target.child_kind or request.body is None:
            raise ArmError(400, "InvalidRequestContent", "PATCH takes a resource's tags.")
        tags = request.body.get("tags")
        stored["tags"] = dict(tags) if isinstance(tags, dict) else {}
        self.model.touch(stored)
        shown = catalogue.read(self.model, target)
        return Answer(200, shown, {"ETag": shown["etag"]})

    def _delete(self, target: Target, request: Request) -> Answer:
        kind = catalogue.kind_of(target)
        if not self._check_etag(target, request):
            return Answer(204)
        failure = self.faults.take("DELETE", in_operation=True)
        if failure is None:
            kind.delete(self.model, target)
        if self.style.delete is Form.DONE and failure is None:
            return Answer(200)
        operation = self._operations.start(self.style.polls, None, failure)
        return Answer(202, None, self._announce(self.style.delete, operation, target, request))

    def _post(self, target: Target, request: Request) -> Answer:
        if (target.kind, target.child_kind) != ("networkInterfaces", "effectiveRouteTable"):
            raise ArmError(404, "InvalidResourceType", f"There is no action {request.path}.")
        result = interface.show_routes(self.model, self.model.find(target))
        if self.style.post is Form.DONE:
            return Answer(200, result)
        operation = self._operations.start(self.style.polls, result)
        return Answer(202, None, self._announce(self.style.post, operation, target, request))

    def _poll(self, target: Target, request: Request) -> Answer:
        operation = self._operations.find(target.child)
        waiting = self.style.waiting
        over = operation.poll()
        if target.child_kind == "operations":
            return Answer(200, status_body(operation, over=over), {} if over else waiting)
        if not over:
            location = f"{request.base}{request.path}?api-version={request.query['api-version']}"
            return Answer(202, None, {"Location": location, **waiting})
        if operation.failure is not None:
            raise operation.failure
        return Answer(200 if operation.result else 204, operation.result)

    def _announce(
        self, form: Form, operation: Operation, target: Target, request: Request
    ) -> dict[str, str]:
        place = self.model.location(target.group)
        root = f"{request.base}/subscriptions/{self.model.subscription}/providers/{PROVIDER}"
        version = f"api-version={request.query['api-version']}"
        location = f"{root}/locations/{place}/operationResults/{operation.id}?{version}"
        status = f"{root}/locations/{place}/operations/{operation.id}?{version}"
        headers = self.style.waiting
        if form is not Form.ASYNC:
            headers["Location"] = location
        if form is not Form.LOCATION:
            headers["Azure-AsyncOperation"] = status
        return headers

    def _check_etag(self, target: Target, request: Request) -> bool:
        """Whether the resource is there; refuses a write whose If-Match has another etag."""
        try:
            etag = catalogue.read(self.model, target)["etag"]
        except ArmError:
            if target.child:
                self.model.find(target)
            etag = None
        wanted = request.headers.get("if-match")
        if wanted is None or wanted == etag or (wanted == "*" and etag):
            return etag is not None
        message = f"The etag of {target.id} is {etag}, not {wanted}."
        raise ArmError(412, "PreconditionFailed", message)


def _check_api_version(request: Request) -> None:
    version = request.query.get("api-version")
    if version is None:
        message = "The api-version query parameter (?api-version=) is required for all requests."
        raise ArmError(400, "MissingApiVersionParameter", message)
    if not _API_VERSION.fullmatch(version):
        raise ArmError(400, "InvalidApiVersionParameter", f"api-version '{version}' is invalid.")


def _challenge(error: ArmError) -> dict[str, str]:
    if error.status != 401:  # noqa: PLR2004  HTTP's Unauthorized
        return {}
    authority = 'authorization_uri="https://login.invalid/lab"'
    challenge = f'Bearer {authority}, error="invalid_token", error_description="{error.message}"'
    return {"WWW-Authenticate": challenge}
