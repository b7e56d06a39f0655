"""The first answer: asked for until there is one, and no refusal is taken for it."""

import socket
import threading
import time

import pytest

from bench.process import BenchError
from bench.starter import first_answer
from korat.core.net.address import Addr

HERE = Addr.parse("127.0.0.1")
NOWHERE = Addr.parse("240.0.0.1")  # no way leads there: refused at once


def free_port():
    with socket.socket() as probe:
        probe.bind((str(HERE), 0))
        return probe.getsockname()[1]


def test_the_answer_of_one_who_comes_late():
    port, opened = free_port(), []
    with socket.socket() as late:
        late.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        late.bind((str(HERE), port))

        def listen():
            opened.append(time.monotonic())
            late.listen(64)

        timer = threading.Timer(0.1, listen)
        timer.start()
        answered = first_answer(HERE, port, 5)
        timer.join()
    assert opened[0] < answered < opened[0] + 1


@pytest.mark.parametrize("target", [HERE, NOWHERE], ids=str)
def test_a_refusal_is_no_answer(target):
    with pytest.raises(BenchError, match="does not answer at port"):
        first_answer(target, free_port(), 0.05)
