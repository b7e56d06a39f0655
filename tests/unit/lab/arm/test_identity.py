"""The token endpoint of managed identity, without HTTP."""

import pytest

from korat.lab.arm.identity import CLIENT_ID, answer

ASKED = {"api-version": "2018-02-01", "resource": "https://management.azure.com"}


@pytest.mark.parametrize("named", [{}, {"client_id": CLIENT_ID}])
def test_a_token_and_all_that_is_told_of_it_are_strings(named):
    given = answer("secret", {**ASKED, **named}, "true", 1_700_000_000.9)
    assert given.status == 200
    assert given.body == {
        "access_token": "secret",
        "client_id": CLIENT_ID,
        "expires_in": "86400",
        "expires_on": "1700086400",
        "ext_expires_in": "86400",
        "not_before": "1700000000",
        "resource": ASKED["resource"],
        "token_type": "Bearer",
    }


@pytest.mark.parametrize(
    ("query", "metadata", "sentence"),
    [
        (ASKED, "", "Required metadata header not specified"),
        ({"api-version": "2018-02-01"}, "true", "'resource' or 'api-version' is missing"),
        ({"resource": "r"}, "true", "'resource' or 'api-version' is missing"),
        ({**ASKED, "client_id": "another"}, "true", "Identity not found"),
        ({**ASKED, "object_id": CLIENT_ID}, "true", "Identity not found"),
        ({**ASKED, "client_id": CLIENT_ID, "msi_res_id": "/x"}, "true", "Identity not found"),
    ],
)
def test_refused(query, metadata, sentence):
    refused = answer("secret", query, metadata, 0)
    assert (refused.status, refused.body["error"]) == (400, "invalid_request")
    assert sentence in refused.body["error_description"]
