"""What libnftables says is turned into korat's errors; the library itself runs in tests/netns."""

import pytest

from korat.core.errors import Conflict, Unavailable, Unsupported
from korat.drivers.kernel.nft import _library, _translated

TEXT = "add table inet korat\nadd rule inet korat c drop\n"


@pytest.mark.parametrize(
    ("printed", "error", "words"),
    [
        (
            "/proc/self/fd/9:2:10-12: Error: Could not process rule: No such file or directory\n",
            Conflict,
            "nftables refused: No such file or directory, in line 2: add rule inet korat c drop",
        ),
        ("x:1:1-2: Error: Could not process rule: File exists\n", Conflict, "in line 1: add table"),
        ("Error: Could not process rule: Device or resource busy\n", Unavailable, "busy"),
        (
            "netlink: Error: cache initialization failed: Interrupted system call\n",
            Unavailable,
            "cache",
        ),
        ("x:2:1-2: Error: syntax error, unexpected end of file\n", Unsupported, "syntax error"),
        (
            "Error: Could not process rule: Operation not permitted\n",
            Unsupported,
            "run korat as root",
        ),
        ("gibberish\n", Unsupported, "gibberish"),
        ("", Unsupported, "no reason given"),
        ("x:99:1-2: Error: beyond the text\n", Unsupported, "in line 99"),
    ],
)
def test_errors_are_translated_with_their_line(printed, error, words):
    translated = _translated(TEXT, printed)
    assert type(translated) is error
    assert words in str(translated)


def test_a_long_line_is_cut():
    translated = _translated("add element " + "x" * 10_000, "x:1:1-2: Error: too long\n")
    assert len(str(translated)) < 300


def test_a_missing_library_names_the_remedy():
    with pytest.raises(Unsupported, match="apt-get install libnftables1"):
        _library("libnothing.so.1")
