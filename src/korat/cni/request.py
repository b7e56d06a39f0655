"""What the runtime asked: the CNI_* environment and the configuration on standard input, checked.

Nothing past this module meets an unchecked name: a container id becomes part of a file name and
of an interface's alias, and the network's name a directory.
Not for the meaning of korat's own configuration keys; the agent decodes those.
Source: CNI specification 1.1.0, sections 1 and 2, and the limits of the Linux kernel.
"""

import json
import re
from collections.abc import Mapping
from typing import BinaryIO

from korat.cni.error import (
    DECODING_FAILURE,
    INCOMPATIBLE_VERSION,
    INVALID_CONFIG,
    INVALID_ENVIRONMENT,
    IO_FAILURE,
    CniError,
)

#: The programs of this code: the one that makes a pod's network, and the one that adds policy to
#: what another plugin made.
PLUGIN, POLICY_PLUGIN = "korat", "korat-policy"

VERSIONS = ("0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")

#: Where the agent keeps its runtime files unless it is told otherwise, and its socket's name there.
RUN_DIR = "/run/korat"
SOCKET_NAME = "agent.sock"
DEFAULT_SOCKET = f"{RUN_DIR}/{SOCKET_NAME}"

MAX_CONFIG_BYTES = 1 << 20

# The agent's own default for the policy, and what links, addresses and a busy node may take.
_POLICY_WAIT_S = 30.0
_WORK_S = 30.0

# The container id, the network and the interface are together an interface's alias, which the
# kernel limits to 255 bytes; the container id is also most of a file's name.
_IDENTIFIER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.\-]*")
_NO_SEPARATOR = re.compile(r"[^/:%\s]+")
_MAX_CONTAINER_ID = 128
_MAX_NETWORK_NAME = 100
_MAX_INTERFACE_NAME = 15

# Which variables a command cannot do without.
_REQUIRED = {
    "ADD": ("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"),
    "DEL": ("CNI_CONTAINERID", "CNI_IFNAME"),
    "CHECK": ("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"),
    "GC": (),
    "STATUS": (),
    "VERSION": (),
}

# The version that brought the command; all others have always been there.
_SINCE = {"CHECK": "0.4.0", "GC": "1.1.0", "STATUS": "1.1.0"}

_VARIABLES = ("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_ARGS", "CNI_PATH")


class Request:
    """One checked request: the command, the CNI_* variables and the network configuration."""

    __slots__ = ("command", "config", "env", "program")

    def __init__(
        self, program: str, command: str, env: dict[str, str], config: dict[str, object]
    ) -> None:
        self.program = program
        self.command = command
        self.env = env
        self.config = config

    @property
    def version(self) -> str:
        """The version of the protocol that this request is in."""
        return str(self.config["cniVersion"])

    @property
    def socket(self) -> str:
        """Where the agent listens."""
        return str(self.config.get("agent_socket") or DEFAULT_SOCKET)

    @property
    def deadline_s(self) -> float:
        """How long the agent may take: until the policy must be in the kernel, and some more."""
        wait_s = self.config.get("policy_setup_timeout_seconds")
        return _WORK_S + (wait_s if isinstance(wait_s, int | float) else _POLICY_WAIT_S)

    def encoded(self) -> bytes:
        """The request as the agent reads it: one line of JSON."""
        body = {
            "program": self.program,
            "command": self.command,
            "env": self.env,
            "config": self.config,
        }
        return json.dumps(body, separators=(",", ":")).encode() + b"\n"


def command_of(environ: Mapping[str, str]) -> str:
    """The command, one of those that CNI knows.

    Raises:
        CniError: there is none, or an unknown one.
    """
    command = environ.get("CNI_COMMAND", "")
    if command not in _REQUIRED:
        raise CniError(
            INVALID_ENVIRONMENT,
            f"CNI_COMMAND {command!r} is not one of {', '.join(_REQUIRED)}",
            "this program is a CNI plugin: a container runtime starts it" if not command else "",
        )
    return command


def read(environ: Mapping[str, str], stdin: BinaryIO, program: str = PLUGIN) -> Request:
    """Read and check everything a command other than VERSION needs.

    Raises:
        CniError: the first thing that is not as the specification wants it.
    """
    command = command_of(environ)
    env = {name: environ[name] for name in _VARIABLES if environ.get(name)}
    _check_environment(command, env)
    config = _config(stdin)
    _check_version(command, config)
    _check_config(config)
    return Request(program, command, env, config)


def _check_environment(command: str, env: Mapping[str, str]) -> None:
    missing = [name for name in _REQUIRED[command] if name not in env]
    if missing:
        raise CniError(INVALID_ENVIRONMENT, f"{command} needs {', '.join(missing)} to be set")
    for name, fault in (
        ("CNI_CONTAINERID", _identifier_fault(env.get("CNI_CONTAINERID"), _MAX_CONTAINER_ID)),
        ("CNI_IFNAME", _interface_fault(env.get("CNI_IFNAME"))),
        ("CNI_NETNS", _path_fault(env.get("CNI_NETNS"))),
        ("CNI_ARGS", _text_fault(env.get("CNI_ARGS"))),
        ("CNI_PATH", _text_fault(env.get("CNI_PATH"))),
    ):
        if fault:
            raise CniError(INVALID_ENVIRONMENT, f"{name} {env[name]!r} {fault}")


def _identifier_fault(text: str | None, limit: int) -> str:
    if text is None:
        return ""
    if len(text) > limit:
        return f"is longer than {limit} characters"
    if not _IDENTIFIER.fullmatch(text):
        return "may have only letters, digits, '_', '.' and '-', and begins with a letter or digit"
    return ""


def _interface_fault(text: str | None) -> str:
    if text is None:
        return ""
    if len(text.encode(errors="surrogateescape")) > _MAX_INTERFACE_NAME:
        return f"is longer than {_MAX_INTERFACE_NAME} bytes"
    if (
        text in (".", "..")
        or not text.isprintable()
        or any(c in "/:%" or c.isspace() for c in text)
    ):
        return "is not an interface name: no '/', ':', '%' or space, and neither '.' nor '..'"
    return ""


def _path_fault(text: str | None) -> str:
    if text is None:
        return ""
    if not text.startswith("/") or ".." in text.split("/") or not text.isprintable():
        return "is not an absolute path without '..'"
    return ""


def _text_fault(text: str | None) -> str:
    return "" if text is None or text.isprintable() else "is not plain text"


def _config(stdin: BinaryIO) -> dict[str, object]:
    try:
        text = stdin.read(MAX_CONFIG_BYTES + 1)
    except OSError as error:
        raise CniError(IO_FAILURE, f"standard input cannot be read: {error.strerror}") from error
    if len(text) > MAX_CONFIG_BYTES:
        raise CniError(
            DECODING_FAILURE, f"the network configuration is longer than {MAX_CONFIG_BYTES} bytes"
        )
    try:
        config = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CniError(
            DECODING_FAILURE, "the network configuration on standard input is not JSON", str(error)
        ) from error
    if not isinstance(config, dict):
        raise CniError(DECODING_FAILURE, "the network configuration is not a JSON object")
    return config


def _check_version(command: str, config: Mapping[str, object]) -> None:
    version = config.get("cniVersion")
    known = ", ".join(VERSIONS)
    if not isinstance(version, str) or version not in VERSIONS:
        raise CniError(
            INCOMPATIBLE_VERSION,
            f"cniVersion {version!r} is not supported",
            f"supported versions: {known}",
        )
    # The versions are in order, so their places compare as they do.
    since = _SINCE.get(command, VERSIONS[0])
    if VERSIONS.index(version) < VERSIONS.index(since):
        raise CniError(
            INCOMPATIBLE_VERSION,
            f"cniVersion {version} has no {command}",
            f"{command} came with version {since}",
        )


def _check_config(config: Mapping[str, object]) -> None:
    name = config.get("name")
    if not isinstance(name, str) or not name:
        raise CniError(INVALID_CONFIG, "the network configuration has no name")
    fault = _identifier_fault(name, _MAX_NETWORK_NAME)
    if fault:
        raise CniError(INVALID_CONFIG, f"the network's name {name!r} {fault}")
    socket = config.get("agent_socket", DEFAULT_SOCKET)
    fault = _path_fault(socket) if isinstance(socket, str) else "is not a string"
    if fault:
        raise CniError(INVALID_CONFIG, f"agent_socket {socket!r} {fault}")
