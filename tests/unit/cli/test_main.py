"""The error boundary: what a user sees and the exit code, in this process and as a program."""

import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

import processor_time
from cli_driver import policy
from korat.cli import lazy
from korat.core.errors import Unavailable

KORAT = [sys.executable, "-m", "korat"]


def program(*words, **options):
    return subprocess.run(
        [*KORAT, *words], capture_output=True, text=True, timeout=30, check=False, **options
    )


@pytest.fixture
def breaking(monkeypatch):
    """Makes ``korat version`` raise."""

    def use(error):
        def version():
            raise error

        monkeypatch.setattr("korat.cli.version.version", version)

    return use


@pytest.mark.parametrize(
    ("error", "code", "err"),
    [
        (Unavailable("the store is away", "try again"), 1, "the store is away; try again\n"),
        (KeyError("x\ny"), 1, "korat has a defect: KeyError: 'x\\ny'; KORAT_DEBUG=1 shows where\n"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_errors_become_words(korat, breaking, error, code, err):
    breaking(error)
    result = korat("version")
    assert (result.code, result.out, result.err) == (code, "", err)


def test_a_defect_shows_where_it_is_when_asked(korat, breaking, monkeypatch):
    breaking(ZeroDivisionError("oops"))
    monkeypatch.setenv("KORAT_DEBUG", "1")
    result = korat("version")
    assert result.code == 1
    assert result.err.startswith("Traceback")


def test_a_program_that_is_not_installed(korat, monkeypatch):
    monkeypatch.setattr(
        "korat.cli.main.Korat.entries", (lazy.Entry("fly", "korat.cli.wings:fly", "Fly.", "P"),)
    )
    result = korat("fly")
    assert result.code == 1
    assert result.err.startswith("korat fly needs the Python package korat.cli.wings")


def test_every_command_has_help(korat):
    from korat.cli.main import Korat as Group  # noqa: PLC0415 - the name is taken above

    for entry in Group.entries:
        result = korat(entry.name, "--help")
        assert (result.code, result.err) == (0, ""), entry.name
        assert f"korat {entry.name}" in result.out


def test_help_wraps_where_the_screen_ends(korat, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    lines = [
        " ".join(line.split()) for line in korat("policy", "explain", "--help").out.splitlines()
    ]
    begin = next(i for i, line in enumerate(lines) if line.startswith("With --from and --to"))
    paragraph = lines[begin : lines.index("", begin)]
    words = "".join(f"{line} " for line in paragraph).split()
    for line, following in pairwise(paragraph):
        assert len(f" {line} {following.split()[0]} ") > 79, "a line ends before the screen does"
    assert words[-1] == "needed."


def test_help_is_quick_and_loads_nothing():
    # processor time, which others on the machine lengthen little; on the clock 300 ms are promised
    before_s = processor_time.of_children_s()
    result = program("--help")
    assert (result.returncode, result.stderr) == (0, "")
    assert "apply" in result.stdout
    assert processor_time.of_children_s() - before_s < 2
    code = (
        "import sys; from korat.cli.main import run; run(['--help']); print(*sorted(sys.modules))"
    )
    modules = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    loaded = set(modules.stdout.splitlines()[-1].split())
    assert not loaded & {"msgspec", "yaml", "pyroute2", "azure", "sqlite3", "korat.core.model"}


def test_as_a_program(tmp_path):
    environ = {**os.environ, "KORAT_SQLITE_PATH": str(tmp_path / "s.db")}
    done = program("apply", "-f", "-", input=policy("a"), env=environ)
    expected = "Successfully applied 1 'NetworkPolicy' resource(s)\n"
    assert (done.returncode, done.stdout, done.stderr) == (0, expected, "")
    bad = program("apply", "-f", "-", input="x: [", env=environ)
    assert (bad.returncode, bad.stdout) == (1, "")
    assert bad.stderr.startswith("failed to execute command: standard input:2: is not YAML")


def test_nobody_reads(tmp_path):
    """A closed pipe ends the program without a word."""
    environ = {**os.environ, "KORAT_SQLITE_PATH": str(tmp_path / "s.db")}
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [*KORAT, "get", "tiers", "-o", "json"],
        stdout=writer, stderr=subprocess.PIPE, text=True, env=environ, timeout=30, check=False,
    )  # fmt: skip
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, "")


def test_a_full_disk_is_a_sentence(tmp_path):
    environ = {**os.environ, "KORAT_SQLITE_PATH": str(tmp_path / "s.db")}
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*KORAT, "get", "tiers"],
            stdout=full, stderr=subprocess.PIPE, text=True, env=environ, timeout=30, check=False,
        )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr == "cannot write: no space left on device; make room, then try again\n"


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-"])
def test_a_closed_stream_is_no_defect(tmp_path, closed):
    environ = {**os.environ, "KORAT_SQLITE_PATH": str(tmp_path / "s.db")}
    done = subprocess.run(
        ["/bin/sh", "-c", f"{sys.executable} -m korat get tiers {closed}"],
        capture_output=True, text=True, env=environ, timeout=30, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


def test_marks_and_json_are_utf_8_whatever_the_locale(tmp_path):
    label = tmp_path / "n\u00e4me.yaml"
    environ = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(
        [*KORAT, "validate", "-f", str(label)],
        capture_output=True, env=environ, timeout=30, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "n\u00e4me.yaml: cannot be read" in done.stderr.decode()


def test_no_permission_is_a_sentence(korat, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("KORAT_SQLITE_PATH", str(tmp_path / "file" / "s.db"))
    result = korat("get", "np")
    assert result.code == 1
    assert result.err.count("\n") == 1
    assert "defect" not in result.err
