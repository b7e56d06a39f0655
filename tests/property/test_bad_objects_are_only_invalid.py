"""Whatever a manifest holds, reading it gives objects or Invalid, and nothing else."""

from hypothesis import given
from hypothesis import strategies as st

import strategies_model as model
from korat.core.errors import Invalid
from korat.core.model.codec import dump, load
from korat.core.model.decode import decode
from korat.core.model.kind import KINDS
from korat.core.model.kubernetes import convert, decode_any

VERSIONS = ("projectcalico.org/v3", "v1", "networking.k8s.io/v1")
KUBERNETES = ("Namespace", "ServiceAccount", "NetworkPolicy", "List", "Deployment")


def only_invalid(read, raw):
    """Reads, or gives the problems; what was read can be stored and read back."""
    try:
        found = read(raw)
    except Invalid as invalid:
        return invalid.problems and [str(problem) for problem in invalid.problems]
    for resource in found if isinstance(found, list) else [found]:
        assert load(resource.key, dump(resource)) == resource
    return ["read"]


@given(model.JSON)
def test_any_json(raw):
    for read in (decode, decode_any, convert):
        assert only_invalid(read, raw)


@given(
    st.fixed_dictionaries(
        {
            "kind": st.sampled_from(sorted(KINDS) + list(KUBERNETES)) | model.JSON,
            "apiVersion": st.sampled_from(VERSIONS) | model.JSON,
        },
        optional={"metadata": model.JSON, "spec": model.JSON, "items": model.JSON},
    )
)
def test_anything_that_looks_like_an_object(raw):
    for read in (decode, decode_any, convert):
        assert only_invalid(read, raw)


@given(model.broken())
def test_a_good_object_with_one_bad_place(raw):
    assert only_invalid(decode_any, raw)
