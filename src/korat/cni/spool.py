"""Deletions that the agent was not there to take: one file each, which the agent drains.

A file ``<container id>@<interface>.json`` in ``cni-del`` beside the agent's socket holds the
request as it would have gone over the socket; another program than korat puts ``<program>@`` before
it. A second DEL of the same interface replaces it.
"""

# Importing pathlib would be a fifth of the plugin's start.
# ruff: noqa: PTH103, PTH105, PTH108, PTH118, PTH120, PTH208

import os

from korat.cni.error import TRY_AGAIN_LATER, CniError
from korat.cni.request import PLUGIN, Request

FOLDER = "cni-del"

# More pods than that do not fit on a node; past it something else is wrong.
MAX_FILES = 10_000


def put(request: Request) -> str:
    """Keep the request until the agent is back; returns the file's path.

    Raises:
        CniError: the folder is full or cannot be written; the runtime will try again.
    """
    folder = os.path.join(os.path.dirname(request.socket), FOLDER)
    program = "" if request.program == PLUGIN else f"{request.program}@"
    name = f"{program}{request.env['CNI_CONTAINERID']}@{request.env['CNI_IFNAME']}.json"
    path = os.path.join(folder, name)
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        if len(os.listdir(folder)) >= MAX_FILES:
            raise CniError(TRY_AGAIN_LATER, f"{folder} holds {MAX_FILES} deletions already")
        _write(path, request.encoded())
    except OSError as error:
        raise CniError(
            TRY_AGAIN_LATER, f"the deletion cannot be queued in {folder}: {error.strerror}"
        ) from error
    return path


def drop(path: str) -> None:
    """Forget a queued deletion; one that is gone already is fine."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        return


def _write(path: str, body: bytes) -> None:
    # The agent takes only names that end in .json, so it never sees half a file.
    unfinished = f"{path}.{os.getpid()}"
    fd = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(body)
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, path)
    except OSError:
        drop(unfinished)
        raise
