"""The daemon's desk: who is served in which order, and who disturbs nobody."""

import selectors
import socket
import stat
import threading
import time
from collections.abc import Callable, Iterator

import msgspec
import pytest

from korat.core.errors import KoratError, Unavailable
from korat.lab import state
from korat.lab.control import AddNodes, Answer, Asked, Desk, RebootNode, RemoveNode, ask
from korat.lab.state import LabPaths

PATIENCE_S = 10


class Office:
    """A desk, the selector it is read by, and clients in threads of their own."""

    def __init__(self, paths: LabPaths) -> None:
        self.paths = paths
        self.selector = selectors.DefaultSelector()
        self.desk = Desk(paths.control, self.selector)
        self.threads: list[threading.Thread] = []

    def next(self) -> Asked:
        """The next whole request."""
        found: list[Asked] = []

        def came() -> bool:
            asked = self.desk.next()
            found.extend([asked] if asked else [])
            return bool(found)

        self.turn_until(came)
        return found[0]

    def turn_until(self, condition: Callable[[], object]) -> None:
        """Read what comes, as the daemon's loop does."""
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < deadline
            for key, _ in self.selector.select(0.02):
                key.data()

    @property
    def clients(self) -> int:
        """How many are read now."""
        return len(self.selector.get_map()) - 1

    def client(self, *sent: bytes) -> socket.socket:
        link = socket.socket(socket.AF_UNIX)
        link.settimeout(PATIENCE_S)
        link.connect(str(self.paths.control))
        for piece in sent:
            link.sendall(piece)
        return link

    def started(self, work: Callable[[], object]) -> list[object]:
        """Do it beside us; the list gets what it returns or raises."""
        told: list[object] = []

        def run() -> None:
            try:
                told.append(work())
            except KoratError as error:
                told.append(error)

        thread = threading.Thread(target=run)
        self.threads.append(thread)
        thread.start()
        return told

    def end(self) -> None:
        for thread in self.threads:
            thread.join(PATIENCE_S)
            assert not thread.is_alive()


@pytest.fixture
def paths(tmp_path, monkeypatch) -> LabPaths:
    monkeypatch.setattr(state, "ROOT", tmp_path)
    made = LabPaths("x")
    made.root.mkdir()
    return made


@pytest.fixture
def office(paths) -> Iterator[Office]:
    made = Office(paths)
    yield made
    made.desk.close()
    made.end()
    assert not made.selector.get_map(), "somebody is still read"
    made.selector.close()


@pytest.mark.parametrize("request_", [AddNodes(2), RemoveNode("vm1"), RebootNode("vm2")])
def test_a_request_and_its_answer(office, request_):
    told = office.started(lambda: ask(office.paths, request_))
    asked = office.next()
    assert asked.request == request_
    asked.answer(Answer(("vm2",), ("shop/web",)))
    office.end()
    assert told == [Answer(("vm2",), ("shop/web",))]


def test_a_refusal_is_the_daemons_sentence(office):
    told = office.started(lambda: ask(office.paths, RemoveNode("vm9")))
    office.next().answer(Answer(refusal="there is no node vm9"))
    office.end()
    assert [str(each) for each in told] == ["there is no node vm9"]


def test_two_clients_at_once_are_served_one_after_the_other(office):
    one = office.started(lambda: ask(office.paths, AddNodes(1)))
    first = office.next()
    two = office.started(lambda: ask(office.paths, AddNodes(2)))
    second = office.next()
    assert not one
    assert not two
    first.answer(Answer(("vm1",)))
    second.answer(Answer(("vm2", "vm3")))
    office.end()
    assert (one, two) == ([Answer(("vm1",))], [Answer(("vm2", "vm3"))])


@pytest.mark.parametrize(
    "line",
    [
        b"\n",
        b"no json\n",
        b"[]\n",
        b'{"type":"format-the-disk"}\n',
        b'{"type":"add"}\n',
        b'{"type":"add","count":"many"}\n',
        b'{"type":"remove","name":"vm1","now":true}\n',
        b"\xff\xfe\n",
        b"x" * 5000,
    ],
)
def test_a_bad_request_is_answered_at_once_and_harms_nobody(office, line):
    with office.client(line) as link:
        answer = office.started(lambda: link.recv(4096))
        office.turn_until(lambda: answer)
    assert "that is no request to a lab" in msgspec.json.decode(answer[0], type=Answer).refusal
    assert office.desk.next() is None
    told = office.started(lambda: ask(office.paths, AddNodes(1)))
    office.next().answer(Answer())
    office.end()
    assert told == [Answer()]


def test_a_slow_client_keeps_nobody_waiting(office):
    slow = office.client(b'{"type":"add",')
    told = office.started(lambda: ask(office.paths, RebootNode("vm1")))
    asked = office.next()
    assert asked.request == RebootNode("vm1")
    asked.answer(Answer())
    slow.sendall(b'"count":3}\n')
    late = office.next()
    assert late.request == AddNodes(3)
    late.answer(Answer())
    slow.close()
    office.end()
    assert told == [Answer()]


def test_who_hangs_up_before_the_end_of_his_request_is_forgotten(office):
    gone = office.client(b'{"type":"add","cou')
    office.turn_until(lambda: office.clients)
    gone.close()
    office.turn_until(lambda: not office.clients)
    assert office.desk.next() is None


def test_for_who_hangs_up_before_his_turn_nothing_is_done(office):
    gone = office.client(b'{"type":"remove","name":"vm1"}\n')
    office.turn_until(lambda: office.clients)
    office.turn_until(lambda: not office.clients)
    gone.close()
    told = office.started(lambda: ask(office.paths, AddNodes(1)))
    asked = office.next()
    assert asked.request == AddNodes(1)
    asked.answer(Answer())
    office.end()
    assert told == [Answer()]


def test_who_hangs_up_before_his_answer_is_no_fault(office):
    with office.client(b'{"type":"add","count":1}\n'):
        asked = office.next()
    asked.answer(Answer(("vm1",)))


def test_only_root_may_ask(office):
    assert stat.S_IMODE(office.paths.control.stat().st_mode) == 0o600


def test_where_nobody_listens_the_client_says_what_to_do(paths):
    with pytest.raises(Unavailable, match="takes no requests yet; wait until korat lab up is done"):
        ask(paths, AddNodes(1))


def test_a_daemon_that_ends_before_its_answer_is_told(office):
    told = office.started(lambda: ask(office.paths, AddNodes(1)))
    asked = office.next()
    asked.client.close()
    office.end()
    (error,) = told
    assert isinstance(error, Unavailable)
    assert "lab x ended before its answer" in str(error)


def hung_up(link: socket.socket) -> bool:
    try:
        return link.recv(1) == b""
    except ConnectionResetError:  # what it sent was not read
        return True


def test_a_closed_desk_hangs_up_on_those_who_wait(paths):
    office = Office(paths)
    with office.client(b'{"type":"add","count":1}\n') as whole:
        office.turn_until(lambda: office.clients)
        office.turn_until(lambda: not office.clients)
        with office.client(b"{") as half:
            office.turn_until(lambda: office.clients)
            office.desk.close()
            assert hung_up(whole)
            assert hung_up(half)
    assert not paths.control.exists()
    assert not office.selector.get_map()
    office.selector.close()
