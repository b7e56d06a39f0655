"""The lab's container runtime, as far as networks go: it speaks CNI to the plugins on disk.

It does what libcni does: reads the first configuration list of a node's net.d, runs each plugin
with the protocol's environment and the configuration on standard input, hands each result to the
next one, and takes them down in reverse. Korat's plugin cannot tell it from a real runtime.
Source: CNI specification 1.1.0, sections 2-4.
"""

import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from korat.core.errors import Invalid, KoratError, Problem, Unavailable
from korat.drivers.kernel import namespace

_TIMEOUT_S = 60.0

Json = dict[str, Any]


class CniFailed(KoratError):
    """A plugin answered with an error object; ``code`` is CNI's."""

    def __init__(self, plugin: str, command: str, error: Json) -> None:
        self.code = int(error.get("code", 999))
        details = f" ({error['details']})" if error.get("details") else ""
        super().__init__(f"CNI {command} by {plugin}: {error.get('msg', 'no message')}{details}")


@dataclass(frozen=True, slots=True)
class Attachment:
    """One container's interface in one network."""

    container_id: str
    netns: str
    ifname: str
    args: tuple[tuple[str, str], ...]

    def environ(self, command: str, bin_dir: Path) -> dict[str, str]:
        """The protocol's variables, and nothing else."""
        return {
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": self.container_id,
            "CNI_NETNS": self.netns,
            "CNI_IFNAME": self.ifname,
            "CNI_ARGS": ";".join(f"{k}={v}" for k, v in self.args),
            "CNI_PATH": str(bin_dir),
        }


@dataclass(frozen=True, slots=True)
class CniRuntime:
    """Runs the network of one node: ``net_dir`` holds *.conflist, ``bin_dir`` the plugins.

    ``netns`` is the node's namespace, in which the plugins run as on a machine of their own; empty
    for this process's.
    """

    net_dir: Path
    bin_dir: Path
    netns: str = ""

    def add(self, attachment: Attachment) -> Json:
        """Attach; the last plugin's result."""
        conf = self._configuration()
        result: Json = {}
        for plugin in conf["plugins"]:
            result = self._run("ADD", attachment, conf, plugin, result)
        return result

    def check(self, attachment: Attachment, result: Json) -> None:
        """Ask every plugin whether the attachment is still as ``result`` says."""
        conf = self._configuration()
        for plugin in conf["plugins"]:
            self._run("CHECK", attachment, conf, plugin, result)

    def delete(self, attachment: Attachment, result: Json) -> None:
        """Detach; an attachment that is gone already is fine."""
        conf = self._configuration()
        for plugin in reversed(conf["plugins"]):
            self._run("DEL", attachment, conf, plugin, result)

    def _configuration(self) -> Json:
        files = sorted(self.net_dir.glob("*.conflist"))
        if not files:
            raise Unavailable(f"no CNI configuration in {self.net_dir}", "run: korat cni install")
        conf: Json = json.loads(files[0].read_bytes())
        if not conf.get("plugins"):
            raise Invalid([Problem(str(files[0]), "plugins", None, "must list a plugin")])
        return conf

    def _run(
        self, command: str, attachment: Attachment, conf: Json, plugin: Json, previous: Json
    ) -> Json:
        config = {**plugin, "cniVersion": conf["cniVersion"], "name": conf["name"]}
        if previous:
            config["prevResult"] = previous
        environ = attachment.environ(command, self.bin_dir)
        program = self.bin_dir / plugin["type"]

        def call() -> Json:
            return _call(program, command, environ, config)

        answer = namespace.run_in(self.netns, call) if self.netns else call()
        return answer or previous


def _call(program: Path, command: str, environ: Mapping[str, str], config: Json) -> Json:
    try:
        done = subprocess.run(
            [program],
            input=json.dumps(config).encode(),
            env=dict(environ),
            capture_output=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable(f"CNI {command} by {program.name}: {error}") from error
    answer: Json = {}
    if done.stdout.strip():
        try:
            answer = json.loads(done.stdout)
        except ValueError as error:
            text = done.stdout[:200].decode(errors="replace")
            raise Unavailable(f"CNI {command} by {program.name} printed {text!r}") from error
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip()
        raise CniFailed(program.name, command, answer or {"msg": said or "no answer"})
    return answer
