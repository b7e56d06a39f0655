import pytest

from cli_driver import Korat


@pytest.fixture
def korat(tmp_path, monkeypatch, capsys):
    """The program with an empty store."""
    return Korat(tmp_path, monkeypatch, capsys)
