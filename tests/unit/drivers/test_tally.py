"""What the agent has counted, asked for over its socket."""

import pytest

from korat.core.errors import Unavailable
from korat.drivers.tally import Tally, TallyServer, ask

TALLY = Tally("egress", "default", "NetworkPolicy", "red", "p", "1", "Allow", False, 3, 180)


def test_every_question_gets_the_answer_of_the_moment(tmp_path):
    counted = [TALLY]
    server = TallyServer(tmp_path, lambda: counted)
    try:
        assert ask(tmp_path) == (TALLY,)
        counted *= 5000
        assert ask(tmp_path) == (TALLY,) * 5000
        assert [path.stat().st_mode & 0o777 for path in tmp_path.iterdir()] == [0o600]
    finally:
        server.close()
    assert ask(tmp_path) is None
    assert not list(tmp_path.iterdir())


def test_nobody_answers_where_no_agent_runs(tmp_path):
    assert ask(tmp_path / "gone") is None


def test_an_agent_that_was_killed_left_a_socket_that_the_next_one_replaces(tmp_path):
    (tmp_path / "counters.sock").touch()
    server = TallyServer(tmp_path, lambda: [TALLY])
    try:
        assert ask(tmp_path) == (TALLY,)
    finally:
        server.close()


def test_a_kernel_that_does_not_say_is_no_answer(tmp_path):
    def away():
        raise Unavailable("busy")

    server = TallyServer(tmp_path, away)
    try:
        assert ask(tmp_path) is None
    finally:
        server.close()


@pytest.mark.parametrize("answer", [b"", b"[", b"{}"])
def test_an_answer_that_is_none(tmp_path, answer, monkeypatch):
    monkeypatch.setattr("korat.drivers.tally.msgspec.json.encode", lambda _: answer)
    server = TallyServer(tmp_path, list)
    try:
        assert ask(tmp_path) is None
    finally:
        server.close()
