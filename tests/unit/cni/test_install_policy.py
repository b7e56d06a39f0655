"""Policy put into a list of plugins that somebody else wrote."""

import json
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cni_world import names
from korat.cni.conflist_text import with_second_plugin
from korat.cni.install import install_policy

ENTRY = {"type": "korat-policy"}
AZURE = """{
   "cniVersion":"0.3.0",
   "name":"azure",
   "plugins":[
      {
         "type":"azure-vnet",
         "mode":"transparent",
         "ipsToRouteViaHost":["169.254.20.10"],
         "ipam":{
            "type":"azure-vnet-ipam"
         }
      },
      {
         "type":"portmap",
         "capabilities":{
            "portMappings":true
         },
         "snat":true
      }
   ]
}
"""


def test_azures_list_gets_policy_after_its_main_plugin(tmp_path):
    (tmp_path / "10-azure.conflist").write_text(AZURE)
    (tmp_path / "99-other.conflist").write_text("never read")
    found = install_policy(tmp_path / "bin", tmp_path)
    assert found == tmp_path / "10-azure.conflist"
    assert found.read_text() == AZURE.replace(
        """      },
      {
         "type":"portmap",""",
        """      },
      {"type": "korat-policy"},
      {
         "type":"portmap",""",
    ), "not a character is another"
    assert names(tmp_path / "bin") == ["korat", "korat-policy"]
    assert names(tmp_path) == ["10-azure.conflist", "99-other.conflist", "bin"]


def test_again_changes_nothing(tmp_path):
    file = tmp_path / "a.conflist"
    file.write_text(AZURE)
    install_policy(tmp_path / "bin", tmp_path)
    once, written = file.read_text(), file.stat().st_ino
    install_policy(tmp_path / "bin", tmp_path, file)
    assert (file.read_text(), file.stat().st_ino) == (once, written)


def test_the_files_mode_and_what_a_link_leads_to_are_kept(tmp_path):
    real = tmp_path / "real"
    real.write_text(AZURE)
    real.chmod(0o600)
    (tmp_path / "10-azure.conflist").symlink_to(real)
    install_policy(tmp_path / "bin", tmp_path)
    assert (tmp_path / "10-azure.conflist").is_symlink()
    assert real.stat().st_mode & 0o777 == 0o600
    assert "korat-policy" in real.read_text()


def test_the_agents_socket_is_written_when_it_is_another(tmp_path):
    file = tmp_path / "a.conflist"
    file.write_text(AZURE)
    install_policy(tmp_path / "bin", tmp_path, file, "/x/agent.sock")
    assert json.loads(file.read_text())["plugins"][1] == {**ENTRY, "agent_socket": "/x/agent.sock"}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is not JSON"),
        ("{", "is not JSON"),
        ("[]", "has no list of plugins"),
        ('{"type": "bridge"}', "has no list of plugins"),
        ('{"plugins": []}', "has no list of plugins"),
        ('{"plugins": {"type": "a"}}', "has no list of plugins"),
        ('{"plugins": ["a"]}', "that is no object"),
        ('{"plugins": [{"type": "korat-policy"}]}', "must follow one that makes"),
        ('{"plugins": [{"type": "a"}], "plugins": [{"type": "b"}]}', "names a key twice"),
    ],
)
def test_what_is_no_list_is_refused_and_left_alone(tmp_path, text, reason):
    file = tmp_path / "a.conflist"
    file.write_text(text)
    with pytest.raises(ValueError, match=reason) as refused:
        install_policy(tmp_path / "bin", tmp_path)
    assert str(file) in str(refused.value)
    assert file.read_text() == text
    assert not (tmp_path / "bin").exists()


def test_without_a_list_the_other_plugin_is_to_come_first(tmp_path):
    with pytest.raises(ValueError, match="install the plugin that makes"):
        install_policy(tmp_path / "bin", tmp_path)


words = st.text(max_size=8)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=8,
)
plugins = st.dictionaries(words, values, max_size=3).map(lambda more: {**more, "type": "other"})


@given(
    before=st.dictionaries(words, values, max_size=3),
    plugins=st.lists(plugins, min_size=1, max_size=3),
    after=st.dictionaries(words, values, max_size=3),
    indent=st.sampled_from([None, 0, 1, "\t"]),
)
def test_any_list_gains_one_plugin_and_nothing_else(before, plugins, after, indent):
    conf = {**before, "plugins": plugins, **{k: v for k, v in after.items() if k != "plugins"}}
    text = json.dumps(conf, indent=indent)
    found = with_second_plugin(text, ENTRY)
    read = json.loads(found)
    assert read["plugins"] == [plugins[0], ENTRY, *plugins[1:]]
    assert {**read, "plugins": plugins} == conf
    assert list(read) == list(conf)
    assert with_second_plugin(found, ENTRY) == found


def test_the_program_knows_its_name(tmp_path):
    """Its requests say it: the agent has one socket for both."""
    (tmp_path / "a.conflist").write_text(AZURE)
    install_policy(tmp_path / "bin", tmp_path)
    config = {"cniVersion": "0.3.0", "name": "n", "agent_socket": str(tmp_path / "agent.sock")}
    environ = {"CNI_COMMAND": "DEL", "CNI_CONTAINERID": "c", "CNI_IFNAME": "eth0"}
    for program in ("korat", "korat-policy"):
        subprocess.run(
            [tmp_path / "bin" / program],
            env=environ,
            input=json.dumps(config).encode(),
            check=True,
            timeout=20,
        )
    queued = sorted((tmp_path / "cni-del").iterdir())
    assert [json.loads(each.read_text())["program"] for each in queued] == ["korat", "korat-policy"]
