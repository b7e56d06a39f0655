"""Asks another CNI plugin on this node, as CNI's plugins ask each other: an IPAM plugin above all.

The program is started with the protocol's variables and the configuration on its standard input, in
the node's network namespace, which is this process's own. No shell, and never longer than a while.
Source: CNI specification 1.1.0, section 4 "Plugin Delegation".
"""

import json
import os
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from korat.agent.address_source import AddressRequest
from korat.core.errors import Invalid, NotFound, Problem, Unavailable

_TIMEOUT_S = 20.0
# What a plugin may start itself; a container runtime's own PATH is not known here.
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_MAX_CHARS = 500


def find(name: str, cni_path: str) -> Path:
    """The program of this name in the first of CNI_PATH's folders that has it.

    Raises:
        Invalid: CNI_PATH has something that is no absolute path.
        NotFound: none has it.
    """
    folders = [PurePosixPath(folder) for folder in cni_path.split(":") if folder]
    for folder in folders:
        if not folder.is_absolute() or ".." in folder.parts:
            rule = "is not an absolute path without '..'"
            raise Invalid([Problem("CNI request", "CNI_PATH", str(folder), rule)])
    for folder in folders:
        program = Path(folder) / name
        if program.is_file() and os.access(program, os.X_OK):
            return program
    raise NotFound(f"there is no CNI plugin {name} in CNI_PATH {cni_path!r}", f"install {name}")


def ask(
    command: str, request: AddressRequest, ipam: Mapping[str, object], timeout_s: float = _TIMEOUT_S
) -> Mapping[str, Any]:
    """Have the plugin that ``ipam`` names do a command for one interface; what it answers.

    Raises:
        Invalid, NotFound: the program cannot be found.
        Unavailable: it refuses, does not end in time, or answers nonsense.
    """
    name = str(ipam["type"])
    program = find(name, request.call.path)
    config = {**request.call.config, "ipam": ipam}
    try:
        done = _run(program, _environ(command, request), json.dumps(config).encode(), timeout_s)
    except subprocess.TimeoutExpired as error:
        raise Unavailable(f"{name} has not done {command} after {timeout_s:g} s") from error
    except OSError as error:
        raise Unavailable(f"{program} cannot be started: {error.strerror}") from error
    answer = _answer(name, done.stdout)
    if done.returncode:
        said = answer.get("msg") or done.stderr.decode(errors="replace") or "no reason given"
        details = f" ({_shortened(answer['details'])})" if answer.get("details") else ""
        raise Unavailable(f"{name} refuses {command}: {_shortened(said)}{details}")
    return answer


def _run(
    program: Path, environ: Mapping[str, str], stdin: bytes, timeout_s: float
) -> subprocess.CompletedProcess[bytes]:
    """Run it in a session of its own, so that whatever it started ends with it."""
    with subprocess.Popen(
        [program],
        env=environ,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    ) as child:
        try:
            out, err = child.communicate(stdin, timeout_s)
        except BaseException:
            # It is not waited for yet, so the number is still its own.
            os.killpg(child.pid, signal.SIGKILL)
            raise
    return subprocess.CompletedProcess([program], child.returncode, out, err)


def _environ(command: str, request: AddressRequest) -> dict[str, str]:
    call, owner = request.call, request.owner
    told = {
        "CNI_COMMAND": command,
        "CNI_CONTAINERID": owner.container_id,
        "CNI_IFNAME": owner.ifname,
        "CNI_NETNS": call.netns,
        "CNI_ARGS": call.args,
        "CNI_PATH": call.path,
    }
    return {"PATH": _PATH, **{key: value for key, value in told.items() if value}}


def _answer(name: str, stdout: bytes) -> Mapping[str, Any]:
    """The object that a plugin printed; nothing at all is an empty one."""
    if not stdout.strip():
        return {}
    try:
        found = json.loads(stdout)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        said = stdout[:_MAX_CHARS].decode(errors="replace")
        raise Unavailable(f"{name} answers what is no JSON object: {said!r}")
    return found


def _shortened(words: object) -> str:
    return str(words).strip()[:_MAX_CHARS]
