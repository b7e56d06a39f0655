"""libnftables in process: load a transaction, read a table back.

For: handing rendered text to the kernel without starting a program (a small change takes tens of
microseconds), and reading counters and drift as JSON. Not for: deciding what to load.
Source: libnftables(3); nft 1.0.6 is the oldest that is supported.
"""

import ctypes
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from typing import Self

from korat.core.errors import Conflict, KoratError, NotFound, Unavailable, Unsupported

_LIBRARY = "libnftables.so.1"
_OUTPUT_JSON = 1 << 4
_OUTPUT_NUMERIC = 1 << 5 | 1 << 6 | 1 << 7 | 1 << 8  # protocols, priorities, symbols, times

#: ``/proc/self/fd/3:3:1-20: Error: Could not process rule: File exists``; no place for a buffer.
_FAULT = re.compile(r"^(?:[^\n:]*:(?P<line>\d+):[^\n]*?)?Error: (?P<why>[^\n]*)$", re.MULTILINE)
_SHOWN_MAX = 160
#: Errors that go away by themselves.
_PASSING = ("Device or resource busy", "No buffer", "Resource temp", "Interrupted", "Cannot alloc")


class Feature(Enum):
    """What korat asks of nft and the kernel; the value is the probe, in a table of its own."""

    VERDICT_MAP = "add map {t} m {{ type ifname : verdict; }}"
    INTERVAL_MAP = "add map {t} m {{ type ipv4_addr : verdict; flags interval; }}"
    CONCATENATED_SPANS = (
        "add rule {t} c meta l4proto . th sport . th dport vmap {{ 6 . 0-9 . 1-2 : drop }}"
    )
    CONNTRACK = "add rule {t} c ct state established,related accept"
    COUNTER = 'add counter {t} n {{ comment "korat"; }}\nadd rule {t} c counter name n'
    LOG = 'add rule {t} c log prefix "korat"'
    NFLOG = 'add rule {t} c log prefix "korat" group 1'
    LIMIT = "add rule {t} c limit rate 1/second burst 5 packets"
    REJECT = "add rule {t} c reject"
    TIMED_SET = (
        "add set {t} s {{ type ipv4_addr . inet_service; flags dynamic,timeout; timeout 1s; }}\n"
        "add rule {t} c ip saddr . th sport @s update @s {{ ip saddr . th sport }}"
    )
    FULLY_RANDOM = (
        "add chain {t} n {{ type nat hook postrouting priority 110; }}\n"
        "add rule {t} n masquerade fully-random"
    )


class Nft:
    """A handle to one network namespace's nftables: that of the thread which makes it.

    Make it after ``setns``; it stays with that namespace wherever the thread goes later. One
    thread at a time may use it.

    Raises:
        Unsupported: libnftables is not installed, or netlink is closed to this user.
    """

    def __init__(self) -> None:
        self._lib = _library()
        context = self._lib.nft_ctx_new(0)
        if not context:
            raise Unsupported("nftables cannot be reached through netlink", "run korat as root")
        self._context = ctypes.c_void_p(context)
        self._lib.nft_ctx_buffer_output(self._context)
        self._lib.nft_ctx_buffer_error(self._context)

    def close(self) -> None:
        """Give the netlink socket back; closing twice is fine."""
        if self._context.value is not None:
            self._lib.nft_ctx_free(self._context)
            self._context = ctypes.c_void_p(None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def apply(self, text: str) -> None:
        """Run the commands as one transaction: all of them or none; empty text does nothing.

        Raises:
            Conflict: the kernel's table is not what the text was made for; load it whole.
            Unavailable: the kernel was busy; try again.
            Unsupported: nft, the kernel or this user's rights refuse it for good.
        """
        if text:
            self._run(text)

    def list_json(self, table: str = "inet korat") -> list[dict[str, object]]:
        """The table as nft's JSON objects, counters and element counts included.

        Raises:
            NotFound: there is no such table.
        """
        with self._flags(_OUTPUT_JSON | _OUTPUT_NUMERIC):
            try:
                listed = self._run(f"list table {table}")
            except Conflict as error:
                raise NotFound(f"nftables has no table {table}") from error
        objects = json.loads(listed)["nftables"]
        return [each for each in objects if "metainfo" not in each]

    def elements(self, name: str, table: str = "inet korat") -> list[object]:
        """The elements of a named set as nft's JSON; none when there is no such set."""
        with self._flags(_OUTPUT_JSON | _OUTPUT_NUMERIC):
            try:
                listed = self._run(f"list set {table} {name}")
            except Conflict:
                return []
        found = (each["set"] for each in json.loads(listed)["nftables"] if "set" in each)
        return [element for each in found for element in each.get("elem", ())]

    def features(self) -> frozenset[Feature]:
        """Which features nft and the kernel have here, tried in dry runs that change nothing."""
        return frozenset(feature for feature in Feature if self._has(feature))

    def require(self) -> None:
        """Refuse to begin with an nft or a kernel that could not load korat's table.

        Raises:
            Unsupported: with all that is missing.
        """
        present = self.features()
        missing = [f for f in Feature if f not in present]
        if missing:
            words = ", ".join(f.name.lower().replace("_", " ") for f in missing)
            remedy = "korat needs nftables 1.0.6 or newer and a kernel with its modules"
            raise Unsupported(f"nftables here cannot do: {words}", remedy)

    def _has(self, feature: Feature) -> bool:
        table = "inet korat-probe"
        base = "{ type filter hook forward priority 0; }"
        probe = feature.value.format(t=table)
        with self._dry_run():
            try:
                self._run(f"add table {table}\nadd chain {table} c {base}\n{probe}")
            except KoratError:
                return False
        return True

    @contextmanager
    def _dry_run(self) -> Iterator[None]:
        before = self._lib.nft_ctx_get_dry_run(self._context)
        self._lib.nft_ctx_set_dry_run(self._context, True)
        try:
            yield
        finally:
            self._lib.nft_ctx_set_dry_run(self._context, before)

    @contextmanager
    def _flags(self, flags: int) -> Iterator[None]:
        before = self._lib.nft_ctx_output_get_flags(self._context)
        self._lib.nft_ctx_output_set_flags(self._context, flags)
        try:
            yield
        finally:
            self._lib.nft_ctx_output_set_flags(self._context, before)

    def _run(self, text: str) -> str:
        if self._context.value is None:
            raise Unavailable("this handle to nftables is closed")
        failed = self._lib.nft_run_cmd_from_buffer(self._context, text.encode())
        output, errors = self._buffers()
        if failed:
            raise _translated(text, self._located(text) or errors)
        return output

    def _buffers(self) -> tuple[str, str]:
        """What was printed since the last time; reading a buffer empties it."""
        output: bytes = self._lib.nft_ctx_get_output_buffer(self._context) or b""
        errors: bytes = self._lib.nft_ctx_get_error_buffer(self._context) or b""
        return output.decode(), errors.decode(errors="replace")

    def _located(self, text: str) -> str:
        """The errors once more with line numbers, which nft gives for a file only.

        Empty when the same text would be taken now.
        """
        descriptor = os.memfd_create("korat-nft", os.MFD_CLOEXEC)
        with os.fdopen(descriptor, "wb") as file:
            file.write(text.encode())
            file.flush()
            with self._dry_run():
                path = f"/proc/self/fd/{descriptor}".encode()
                failed = self._lib.nft_run_cmd_from_filename(self._context, path)
        _, errors = self._buffers()
        return errors if failed else ""


def _library(name: str = _LIBRARY) -> ctypes.CDLL:
    """The shared library with its functions typed.

    Raises:
        Unsupported: it is not installed.
    """
    try:
        lib = ctypes.CDLL(name)
    except OSError as error:
        raise Unsupported(f"{name} is missing", "apt-get install libnftables1") from error
    lib.nft_ctx_new.argtypes = [ctypes.c_uint32]
    lib.nft_ctx_new.restype = ctypes.c_void_p
    for function in ("nft_ctx_free", "nft_ctx_buffer_output", "nft_ctx_buffer_error"):
        getattr(lib, function).argtypes = [ctypes.c_void_p]
    for function in ("nft_ctx_get_output_buffer", "nft_ctx_get_error_buffer"):
        getattr(lib, function).argtypes = [ctypes.c_void_p]
        getattr(lib, function).restype = ctypes.c_char_p
    lib.nft_ctx_output_get_flags.argtypes = [ctypes.c_void_p]
    lib.nft_ctx_output_get_flags.restype = ctypes.c_uint
    lib.nft_ctx_output_set_flags.argtypes = [ctypes.c_void_p, ctypes.c_uint]
    lib.nft_ctx_get_dry_run.argtypes = [ctypes.c_void_p]
    lib.nft_ctx_get_dry_run.restype = ctypes.c_bool
    lib.nft_ctx_set_dry_run.argtypes = [ctypes.c_void_p, ctypes.c_bool]
    for function in ("nft_run_cmd_from_buffer", "nft_run_cmd_from_filename"):
        getattr(lib, function).argtypes = [ctypes.c_void_p, ctypes.c_char_p]
    return lib


def _translated(text: str, errors: str) -> KoratError:
    """The first fault as one of korat's errors, with the line of the text that it is about."""
    fault = _FAULT.search(errors)
    why = fault["why"].removeprefix("Could not process rule: ") if fault else errors.strip()
    what = f"nftables refused: {why or 'no reason given'}"
    if fault and fault["line"]:
        number = int(fault["line"])
        line = next(iter(text.splitlines()[number - 1 : number]), "")
        shown = line if len(line) <= _SHOWN_MAX else line[:_SHOWN_MAX] + "..."
        what = f"{what}, in line {number}: {shown}"
    return _classed(what, why)


def _classed(what: str, why: str) -> KoratError:
    if why.startswith(("No such file", "File exists")):
        return Conflict(what)
    if any(words in why for words in _PASSING):
        return Unavailable(what)
    if "not permitted" in why or "Permission denied" in why:
        return Unsupported(what, "run korat as root")
    return Unsupported(what)
