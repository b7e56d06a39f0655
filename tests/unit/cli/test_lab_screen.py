"""The matrix of who talks to whom: what its marks mean, and that it fits the terminal."""

import io

import pytest
from rich.console import Console

from korat.cli.lab_screen import ALL, CLOSED, NONE, SOME, marks, matrices, ranges
from korat.lab.probe import Probe

PODS = [f"{namespace}/pod-{i}" for namespace in ("monitoring", "shop") for i in range(6)]


@pytest.mark.parametrize(
    ("results", "mark"),
    [
        (("allowed",), ALL),
        (("allowed", "denied"), SOME),
        (("allowed", "refused"), SOME),
        (("denied", "denied"), NONE),
        (("refused",), CLOSED),
        (("refused", "denied"), CLOSED),
    ],
)
def test_marks(results, mark):
    probes = [Probe("a/x", "a/y", "TCP", port, result, 1.0) for port, result in enumerate(results)]
    assert marks(probes) == {("a/x", "a/y"): mark}


@pytest.mark.parametrize(
    ("addresses", "text"),
    [
        ((), ""),
        (("10.10.1.7",), "10.10.1.7"),
        (("10.10.1.1", "10.10.1.0", "10.10.1.2"), "10.10.1.0-10.10.1.2"),
        (("10.10.0.255", "10.10.1.0", "10.10.2.7"), "10.10.0.255-10.10.1.0 10.10.2.7"),
    ],
)
def test_neighbouring_addresses_are_one_range(addresses, text):
    assert ranges(addresses) == text


def drawn(width, senders=PODS, receivers=PODS):
    console = Console(width=width, file=io.StringIO())
    parts = matrices(senders, receivers, lambda s, r: "·" if s == r else ALL, width)
    for part in parts:
        console.print(part)
    return console.file.getvalue(), len(parts)


def test_with_room_every_receiver_has_its_name():
    text, parts = drawn(400)
    assert parts == 1
    assert text.count("pod-3") == 4


@pytest.mark.parametrize(("width", "parts"), [(80, 1), (60, 2), (40, 4), (10, 12)])
def test_without_room_receivers_are_numbers_and_nothing_is_cut(width, parts):
    text, found = drawn(width)
    assert found == parts
    if width > len(PODS[0]):
        assert "…" not in text
        assert text.count(ALL) == len(PODS) * (len(PODS) - 1)
        assert all(text.count(f"{i:>2} {pod}") == parts for i, pod in enumerate(PODS, start=1))


def test_a_name_that_would_fill_the_line_is_cut_in_its_middle():
    text, parts = drawn(80, senders=[*PODS, "shop/" + "x" * 253], receivers=PODS)
    assert parts <= 2
    assert "shop/xxxx" in text
    assert "xxx…xxx" in text


def test_a_receiver_that_sends_nothing_keeps_its_name():
    text, _ = drawn(24, senders=["a/x", "a/y"], receivers=["far/away", "a/y", "a/x"])
    assert all(name in text for name in ("a/x", "a/y", "far/away"))
