"""``korat cni install``: what it writes where, and its errors in one sentence."""

import json

import pytest

from cni_world import names


@pytest.fixture
def install(korat, tmp_path):
    """Run it with folders of the test's own; returns what came of it."""

    def run(*more):
        folders = ("--bin-dir", str(tmp_path / "bin"), "--conf-dir", str(tmp_path / "net.d"))
        return korat("cni", "install", *folders, *more)

    return run


@pytest.mark.parametrize("ipam", ["host-local", "calico-ipam", "azure-vnet-ipam"])
def test_korat_makes_the_network(install, tmp_path, ipam):
    assert install("--ipam", ipam).code == 0
    assert names(tmp_path / "bin") == ["korat", "korat-policy"]
    listed = json.loads((tmp_path / "net.d" / "10-korat.conflist").read_text())
    assert [(p["type"], p["ipam"]["type"]) for p in listed["plugins"]] == [("korat", ipam)]


def test_policy_alone_goes_into_the_list_that_is_there(install, tmp_path):
    listed = tmp_path / "net.d" / "10-azure.conflist"
    listed.parent.mkdir()
    listed.write_text('{"plugins": [{"type": "azure-vnet"}, {"type": "portmap"}]}')
    for more in ((), ("--conflist", str(listed))):
        assert install("--policy-only", *more).code == 0
        types = [plugin["type"] for plugin in json.loads(listed.read_text())["plugins"]]
        assert types == ["azure-vnet", "korat-policy", "portmap"]
    assert names(tmp_path / "net.d") == ["10-azure.conflist"]


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (("--policy-only",), "install the plugin that makes the pods' network first"),
        (("--policy-only", "--conflist", "/nowhere/a.conflist"), "/nowhere/a.conflist: No such"),
        (("--conflist", "a"), "goes with --policy-only"),
        (("--ipam", "dhcp"), "must be one of"),
    ],
)
def test_an_error_is_one_sentence(install, more, sentence):
    done = install(*more)
    assert (done.code, done.out) == (1, "")
    assert sentence in done.err
    assert len(done.err.splitlines()) == 1
