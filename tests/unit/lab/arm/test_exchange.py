"""What a client sees besides resources: operations in every form, etags, tokens, faults."""

from typing import Any

import pytest
import requests
from azure.core.exceptions import HttpResponseError, ResourceModifiedError
from azure.core.rest import HttpRequest
from hypothesis import given
from hypothesis import strategies as st

from azure_site import AUDIENCE, GROUP, LOCATION, NETWORK_ID, SUBSCRIPTION, Site, furnished
from korat.lab.arm.error import ArmError
from korat.lab.arm.exchange import Arm, Request
from korat.lab.arm.operations import KEPT, Form, Operations, Style
from korat.lab.arm.path import parse, parse_id

TABLE = {"location": LOCATION}


def put_table(site: Site, **headers: str) -> Any:
    tables = site.client.route_tables
    return tables.begin_create_or_update(GROUP, "rt", TABLE, headers=headers).result()


def raw(site: Site, method: str, path: str, token: str, **kwargs: Any) -> requests.Response:
    url = f"{site.server.url}{path}"
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return requests.request(
        method, url, headers=headers, verify=str(site.server.certificate_file), timeout=5, **kwargs
    )


@pytest.mark.parametrize("polls", [0, 2])
@pytest.mark.parametrize("form", [Form.DONE, Form.BODY, Form.ASYNC])
def test_a_put_is_polled_to_its_end(site: Site, form: Form, polls: int):
    site.style(Style(put=form, polls=polls, retry_after_ms=1))
    tables = site.client.route_tables
    made = tables.begin_create_or_update(GROUP, "rt", TABLE, polling_interval=0).result()
    assert made.properties.provisioning_state == "Succeeded"
    polled = [path for method, path in site.server.arm.journal if method == "GET"]
    expected = {Form.DONE: 0, Form.BODY: polls + 1, Form.ASYNC: polls + 2}
    assert len(polled) == expected[form]


@pytest.mark.parametrize("polls", [0, 2])
@pytest.mark.parametrize("form", [Form.DONE, Form.ASYNC, Form.LOCATION, Form.BOTH])
def test_a_delete_is_polled_to_its_end(site: Site, form: Form, polls: int):
    put_table(site)
    site.style(Style(delete=form, polls=polls, retry_after_ms=1))
    assert site.client.route_tables.begin_delete(GROUP, "rt").result() is None
    assert list(site.client.route_tables.list_all()) == []


@pytest.mark.parametrize("polls", [0, 2])
@pytest.mark.parametrize("form", [Form.DONE, Form.LOCATION, Form.BOTH])
def test_a_post_brings_its_result(site: Site, form: Form, polls: int):
    site.style(Style(post=form, polls=polls, retry_after_ms=1))
    nics = site.client.network_interfaces
    assert nics.begin_get_effective_route_table(GROUP, "vm1-nic").result().value


@pytest.mark.parametrize("form", [Form.ASYNC, Form.BOTH, Form.BODY])
def test_an_operation_may_fail_and_then_nothing_was_written(site: Site, form: Form):
    put_table(site)
    site.style(Style(put=form))
    site.faults.in_operation = True
    site.faults.fail_next = 1
    site.faults.code = "InternalServerError"
    body = {**TABLE, "tags": {"a": "b"}}
    poller = site.client.route_tables.begin_create_or_update(GROUP, "rt", body)
    with pytest.raises(HttpResponseError, match="InternalServerError"):
        poller.result()
    assert site.client.route_tables.get(GROUP, "rt").tags == {}


def test_a_write_with_an_old_etag_is_refused(site: Site):
    old = put_table(site).etag
    new = put_table(site, **{"If-Match": old}).etag
    assert new != old
    with pytest.raises(HttpResponseError) as refused:
        put_table(site, **{"If-Match": old})
    assert refused.value.status_code == 412
    assert refused.value.error is not None
    assert refused.value.error.code == "PreconditionFailed"
    with pytest.raises((HttpResponseError, ResourceModifiedError)):
        site.client.route_tables.begin_delete(GROUP, "rt", headers={"If-Match": old})
    put_table(site, **{"If-Match": "*"})


def test_an_etag_of_nothing_is_refused(site: Site):
    with pytest.raises(HttpResponseError) as refused:
        put_table(site, **{"If-Match": "*"})
    assert refused.value.status_code == 412


def test_deleting_what_is_not_there_succeeds(site: Site):
    assert site.client.route_tables.begin_delete(GROUP, "rt").result() is None


def test_the_etag_header_is_the_bodys(site: Site):
    etag = put_table(site).etag
    request = HttpRequest("GET", f"{NETWORK_ID}/routeTables/rt?api-version=2026-03-01")
    response = site.client.send_request(request)
    assert response.headers["ETag"] == response.json()["etag"] == etag


@pytest.mark.parametrize("token", ["", "guessed"])
def test_without_the_token_there_is_a_challenge(site: Site, token: str):
    answer = raw(site, "GET", f"{NETWORK_ID}/routeTables?api-version=2026-03-01", token)
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"].startswith("Bearer authorization_uri=")
    assert site.server.token not in answer.text


VERSION = "api-version=2026-03-01"
NOBODYS_ID = "/subscriptions/x/providers/Microsoft.Network"


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", f"{NETWORK_ID}/routeTables", 400, "MissingApiVersionParameter"),
        ("GET", f"{NETWORK_ID}/routeTables?api-version=1", 400, "InvalidApiVersionParameter"),
        ("GET", f"{NOBODYS_ID}/routeTables?{VERSION}", 404, "SubscriptionNotFound"),
        ("GET", f"/elsewhere?{VERSION}", 404, "InvalidResourceType"),
        ("GET", f"{NETWORK_ID}/publicIPAddresses?{VERSION}", 404, "InvalidResourceType"),
        ("PUT", f"{NETWORK_ID}/routeTables/rt?{VERSION}", 400, "InvalidRequestContent"),
        ("POST", f"{NETWORK_ID}/routeTables/rt?{VERSION}", 404, "InvalidResourceType"),
    ],
)
def test_requests_that_no_sdk_makes(site: Site, method: str, path: str, status: int, code: str):
    answer = raw(site, method, path, site.server.token)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


def test_a_body_that_is_no_json_object_is_refused(site: Site):
    path = f"{NETWORK_ID}/routeTables/rt?api-version=2026-03-01"
    for body in ("{", "[]"):
        answer = raw(site, "PUT", path, site.server.token, data=body)
        assert answer.json()["error"]["code"] == "InvalidRequestContent"


def test_the_identity_endpoint_wants_its_header_and_gives_the_token(site: Site):
    url = f"{site.server.identity_url}/metadata/identity/oauth2/token"
    query = {"api-version": "2018-02-01", "resource": AUDIENCE}
    assert requests.get(url, params=query, timeout=5).status_code == 400
    header = {"Metadata": "true"}
    assert requests.get(url, headers=header, timeout=5).status_code == 400
    answer = requests.get(url, params=query, headers=header, timeout=5).json()
    assert answer["access_token"] == site.server.token
    assert answer["resource"] == AUDIENCE


def test_the_sdk_gets_over_answers_that_pass(site: Site):
    site.faults.fail_next = 2
    site.faults.status = 429
    site.faults.retry_after = "0.001"
    assert [t.name for t in site.client.route_tables.list_all()] == []
    assert site.faults.fail_next == 0


def test_faults_can_be_for_writes_only(site: Site):
    site.faults.fail_next = 1
    site.faults.status = 409
    site.faults.code = "AnotherOperationInProgress"
    site.faults.writes_only = True
    assert list(site.client.route_tables.list_all()) == []
    with pytest.raises(HttpResponseError, match="AnotherOperationInProgress"):
        put_table(site)
    put_table(site)


def test_every_write_tells_the_listeners_before_it_is_answered(site: Site):
    heard: list[str] = []
    site.model.on_change(lambda: heard.append(str(list(site.model.all("routeTables")))))
    put_table(site)
    assert len(heard) == 1
    assert "routeTables/rt" in heard[0]
    with pytest.raises(HttpResponseError):
        put_table(site, **{"If-Match": "x"})
    list(site.client.route_tables.list_all())
    assert len(heard) == 1


def test_old_operations_are_forgotten():
    operations = Operations()
    first = operations.start(0)
    for _ in range(KEPT):
        operations.start(0)
    with pytest.raises(ArmError, match="OperationNotFound"):
        operations.find(first.id)


def test_a_path_keeps_names_and_corrects_kinds():
    path = "/SUBSCRIPTIONS/S/ResourceGroups/RG/Providers/microsoft.network/ROUTETABLES/Rt/Routes/R"
    target = parse(path)
    assert target.id == (
        "/subscriptions/S/resourceGroups/RG/providers/Microsoft.Network/routeTables/Rt/routes/R"
    )
    assert parse_id(target.id) == target


def _id_case(text: str, flips: list[bool]) -> str:
    padded = flips + [False] * (len(text) - len(flips))
    return "".join(c.swapcase() if f else c for c, f in zip(text, padded, strict=False))


@given(st.lists(st.booleans(), max_size=120))
def test_the_case_of_a_path_never_matters(flips: list[bool]):
    path = _id_case(f"{NETWORK_ID}/networkInterfaces/vm1-nic", flips)
    arm = Arm(furnished(1), "token")
    headers = {"authorization": "Bearer token"}
    request = Request("GET", path, {"api-version": "2026-03-01"}, headers, "https://x")
    answer = arm.answer(request)
    assert answer.status == 200
    assert answer.body is not None
    assert answer.body["id"] == f"{NETWORK_ID}/networkInterfaces/vm1-nic"
    assert SUBSCRIPTION in str(answer.body)
