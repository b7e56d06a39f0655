"""What is written is what is read; defaults are applied once and for all."""

import json

from hypothesis import given

import strategies_model as model
from korat.core.model.codec import dump, load, to_dict
from korat.core.model.decode import decode
from korat.core.model.default import apply
from korat.core.model.kubernetes import decode_any


@given(model.objects())
def test_load_of_dump_is_the_object(raw):
    (resource,) = decode_any(raw)
    assert load(resource.key, dump(resource)) == resource
    assert dump(load(resource.key, dump(resource))) == dump(resource)


@given(model.objects())
def test_what_is_printed_can_be_applied_again(raw):
    (resource,) = decode_any(raw)
    printed = to_dict(resource, revision=7)
    (again,) = decode_any(json.loads(json.dumps(printed)))
    assert to_dict(again, revision=7) == printed


@given(model.objects())
def test_defaults_are_applied_once(raw):
    once = apply(decode(raw))
    assert apply(once) == once


@given(model.objects())
def test_the_object_begins_as_calico_writes_it(raw):
    (resource,) = decode_any(raw)
    written = json.loads(dump(resource))
    body = "addressType" if raw["kind"] == "EndpointSlice" else "spec"
    assert list(written)[:4] == ["kind", "apiVersion", "metadata", body]
    assert "resourceVersion" not in written["metadata"]
