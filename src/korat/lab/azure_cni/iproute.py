"""The stand-ins' hands: the program ``ip``, in this network namespace or in a pod's."""

import json
import shutil
import subprocess
from collections.abc import Sequence

from korat.lab.azure_cni.protocol import Json, PluginError

#: What they run, and Debian's package of each.
PROGRAMS = {"ip": "iproute2", "nsenter": "util-linux"}

# A container runtime gives a plugin no PATH.
_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
_TIMEOUT_S = 20.0


def show(*words: str) -> list[Json]:
    """What ``ip -json WORDS`` says.

    Raises:
        PluginError: it refuses.
    """
    return list(json.loads(_run([_program("ip"), "-json", *words]) or "[]"))


def change(*words: str) -> None:
    """Do ``ip WORDS``.

    Raises:
        PluginError: it refuses.
    """
    _run([_program("ip"), *words])


def change_in(netns: str, commands: Sequence[str]) -> None:
    """Do these commands of ``ip`` in a namespace, up to the first that is refused.

    Raises:
        PluginError: one is refused.
    """
    entered = [_program("nsenter"), f"--net={netns}", _program("ip"), "-batch", "-"]
    _run(entered, "".join(f"{command}\n" for command in commands))


def _program(name: str) -> str:
    found = shutil.which(name, path=_PATH)
    if found is None:
        raise PluginError(102, f"the program {name} is not installed")
    return found


def _run(words: Sequence[str], stdin: str = "") -> str:
    done = subprocess.run(
        words, input=stdin, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
    )
    if done.returncode:
        raise PluginError(102, f"{' '.join(words)}: {done.stderr.strip()}")
    return done.stdout
