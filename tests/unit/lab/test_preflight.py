"""What a lab asks of the machine: the programs of its mode, and of whoever it lets do a part."""

from pathlib import Path

import pytest

from korat.core.errors import Invalid
from korat.lab.blueprint import Options, blueprint
from korat.lab.preflight import missing_programs


def missing(tmp_path: Path, *installed: str, mode: str = "flannel", beside: str = "") -> list[str]:
    for name in installed:
        program = tmp_path / name
        program.write_text("#!/bin/sh\n")
        program.chmod(0o755)
    plan = blueprint(Options(mode=mode, beside=beside))
    return list(map(str, missing_programs(plan, {"PATH": str(tmp_path)})))


def test_flannel_needs_etcd_and_says_where_it_is(tmp_path: Path) -> None:
    assert missing(tmp_path) == [
        "etcd is not installed: apt-get install etcd-server",
        "etcdctl is not installed: apt-get install etcd-client",
    ]
    assert missing(tmp_path, "etcd", "etcdctl") == []


@pytest.mark.parametrize("mode", ["udr", "vxlan", "azure-cni"])
def test_other_modes_need_no_program(tmp_path: Path, mode: str) -> None:
    assert missing(tmp_path, mode=mode) == []


@pytest.mark.parametrize("beside", ["flanneld", "mixed"])
def test_the_stand_in_for_flanneld_runs_programs_of_its_own(tmp_path: Path, beside: str) -> None:
    found = missing(tmp_path, "etcd", "etcdctl", beside=beside)
    assert [each.partition(" ")[0] for each in found] == ["bridge", "ip", "nft"]


@pytest.mark.parametrize("beside", ["azure-vnet", "azure-vnet-ipam"])
def test_so_do_those_for_azures_plugins(tmp_path: Path, beside: str) -> None:
    found = missing(tmp_path, mode="azure-cni", beside=beside)
    assert [each.partition(" ")[0] for each in found] == ["ip", "nsenter"]


def test_a_real_flanneld_brings_its_own_and_must_be_one(tmp_path: Path) -> None:
    real = tmp_path / "flanneld"
    environ = {"PATH": str(tmp_path), "KORAT_LAB_FLANNELD": str(real)}
    plan = blueprint(Options(mode="flannel", beside="flanneld"))
    with pytest.raises(Invalid, match="KORAT_LAB_FLANNELD"):
        missing_programs(plan, environ)
    real.write_text("#!/bin/sh\n")
    real.chmod(0o755)
    names = [str(each).partition(" ")[0] for each in missing_programs(plan, environ)]
    assert names == ["etcd", "etcdctl"]
