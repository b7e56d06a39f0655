"""The plugin's entry: one command in, one JSON object out, exit code 0 or 1.

It holds no credentials and touches no network: it checks the request and hands it to the agent.
Pods wait for it, so it imports nothing that is slow: no dataclasses, no pathlib, no argparse.
Not for a person; ``korat cni`` is.
Source: CNI specification 0.3.0 to 1.1.0.
"""

import json
import os
import sys
from collections.abc import Mapping
from typing import BinaryIO, TextIO

from korat.cni import agent, spool
from korat.cni.error import NOT_AVAILABLE, TRY_AGAIN_LATER, CniError
from korat.cni.request import PLUGIN, VERSIONS, Request, command_of, read


def main(program: str = PLUGIN) -> int:
    """Run as the program of this name that a container runtime starts."""
    return run(os.environ, sys.stdin.buffer, sys.stdout, program)


def run(environ: Mapping[str, str], stdin: BinaryIO, stdout: TextIO, program: str = PLUGIN) -> int:
    """Do one command and print its outcome; returns the exit code."""
    version = VERSIONS[-1]
    try:
        if command_of(environ) == "VERSION":
            return _print(stdout, {"cniVersion": version, "supportedVersions": VERSIONS})
        request = read(environ, stdin, program)
        version = request.version
        result = _do(request)
    except CniError as error:
        _print(stdout, error.as_json(version))
        return 1
    # Only ADD has a result; CHECK, DEL, GC and STATUS say nothing when all is well.
    return 0 if result is None else _print(stdout, result)


def _do(request: Request) -> object:
    try:
        return agent.ask(request)
    except agent.AgentAwayError as away:
        if request.command == "DEL":
            _queue(request)
            return None
        code = NOT_AVAILABLE if request.command == "STATUS" else TRY_AGAIN_LATER
        raise CniError(code, str(away), "is `korat node run` running on this node?") from away


def _queue(request: Request) -> None:
    path = spool.put(request)
    # The agent may have come up and drained the folder between the two lines above; it listens
    # before it drains, so asking once more leaves no gap.
    try:
        agent.ask(request)
    except agent.AgentAwayError:
        return
    spool.drop(path)


def _print(stdout: TextIO, value: object) -> int:
    json.dump(value, stdout, separators=(",", ":"))
    stdout.write("\n")
    stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
