"""A CNI plugin's side of the protocol, for the stand-ins: what came in, what goes out.

Written apart from ``korat.cni``, so that korat's side is not tried against itself. Standard
library only: the programs start without korat's own packages.
Source: CNI specification 0.3.0 to 1.0.0.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Json = dict[str, Any]

VERSIONS = ("0.3.0", "0.3.1", "0.4.0", "1.0.0")
_WITH_IP_VERSION = VERSIONS[:3]
_TIMEOUT_S = 30.0


class PluginError(Exception):
    """What the plugin cannot do, with CNI's or the plugin's own code."""

    def __init__(self, code: int, msg: str) -> None:
        super().__init__(msg)
        self.code = code


@dataclass(frozen=True)
class Call:
    """One command: the CNI_* variables and the configuration."""

    environ: Mapping[str, str]
    config: Json

    @property
    def command(self) -> str:
        """ADD, DEL or another."""
        return self.environ.get("CNI_COMMAND", "")

    @property
    def container_id(self) -> str:
        """Whose interface it is about."""
        return self.environ.get("CNI_CONTAINERID", "")

    @property
    def ifname(self) -> str:
        """The interface's name in the pod."""
        return self.environ.get("CNI_IFNAME", "eth0")

    @property
    def netns(self) -> str:
        """The pod's namespace; empty when it is gone."""
        return self.environ.get("CNI_NETNS", "")

    @property
    def args(self) -> dict[str, str]:
        """CNI_ARGS, taken apart."""
        pairs = (item.partition("=") for item in self.environ.get("CNI_ARGS", "").split(";"))
        return {key: value for key, _, value in pairs if key}

    @property
    def ipam(self) -> Json:
        """The configuration's part about addresses."""
        return dict(self.config.get("ipam") or {})

    def ip(self, address: str, gateway: str) -> Json:
        """An address as the asked version shows it."""
        shown: Json = {"address": address, "gateway": gateway}
        return {"version": "4", **shown} if self._version in _WITH_IP_VERSION else shown

    def result(self, **parts: object) -> Json:
        """A result of the asked version."""
        return {"cniVersion": self._version, **parts}

    @property
    def _version(self) -> str:
        return str(self.config.get("cniVersion", ""))


def serve(do: Callable[[Call], Json | None]) -> int:
    """Run as a plugin: one command in, at most one object out; the exit code."""
    if os.environ.get("CNI_COMMAND") == "VERSION":
        _print({"cniVersion": VERSIONS[-1], "supportedVersions": VERSIONS})
        return 0
    try:
        done = do(_read())
    except PluginError as error:
        _print({"cniVersion": VERSIONS[0], "code": error.code, "msg": str(error)})
        return 1
    if done is not None:
        _print(done)
    return 0


def delegate(call: Call, command: str, ipam: Mapping[str, object]) -> Json:
    """Ask the IPAM plugin that the configuration names; what it answers.

    Raises:
        PluginError: it is not there, or refuses.
    """
    name = str(ipam.get("type", ""))
    folders = call.environ.get("CNI_PATH", "").split(":")
    program = next((Path(f) / name for f in folders if name and (Path(f) / name).is_file()), None)
    if program is None:
        raise PluginError(100, f"no IPAM plugin {name!r} in {':'.join(folders)}")
    done = subprocess.run(
        [program],
        env={**call.environ, "CNI_COMMAND": command},
        input=json.dumps({**call.config, "ipam": dict(ipam)}).encode(),
        capture_output=True,
        timeout=_TIMEOUT_S,
        check=False,
    )
    answer: Json = json.loads(done.stdout) if done.stdout.strip() else {}
    if done.returncode:
        said = answer.get("msg") or done.stderr.decode(errors="replace").strip()
        raise PluginError(int(answer.get("code", 999)), f"{name}: {said}")
    return answer


def _read() -> Call:
    call = Call(os.environ, json.load(sys.stdin))
    version = call.config.get("cniVersion")
    if version not in VERSIONS:
        raise PluginError(1, f"cniVersion {version!r} is not supported")
    return call


def _print(value: object) -> None:
    json.dump(value, sys.stdout)
    sys.stdout.write("\n")
