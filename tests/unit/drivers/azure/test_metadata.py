"""The wireserver and IMDS over HTTP: who is asked, how often, and which answers are refused."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise

import pytest
from typing_extensions import override

from korat.core.errors import Invalid, Unavailable
from korat.core.net.address import Addr
from korat.drivers.azure.metadata import INTERVAL_S, NicAddresses, Place, places

MAC = "000D3A000001"
XML = (
    '<Interfaces><Interface MacAddress="000D3A000001" IsPrimary="true">'
    '<IPSubnet Prefix="10.0.0.0/24"><IPAddress Address="10.0.0.4" IsPrimary="true"/>'
    '<IPAddress Address="10.0.0.5" IsPrimary="false"/></IPSubnet></Interface></Interfaces>'
)
JSON = {
    "interface": [
        {
            "macAddress": MAC,
            "ipv4": {
                "ipAddress": [{"privateIpAddress": "10.0.0.4"}, {"privateIpAddress": "10.0.0.6"}],
                "subnet": [{"address": "10.0.0.0", "prefix": "24"}],
            },
        }
    ]
}


class Host:
    """What answers on one port: a status, headers, a body; and what it was asked."""

    def __init__(self, body):
        self.body = body.encode()
        self.status, self.headers = 200, {}
        self.asked = []
        self.slow_s = self.drip_s = 0.0

    @contextmanager
    def serving(self, name) -> Iterator[Place]:
        host = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                host.asked.append((self.command, self.path, self.headers.get("Metadata")))
                self.send_response(host.status)
                for key, value in host.headers.items():
                    self.send_header(key, value)
                self.end_headers()
                ended.wait(host.slow_s)
                size = 1 if host.drip_s else len(host.body)
                for at in range(0, len(host.body), size or 1):
                    self.wfile.write(host.body[at : at + size])
                    ended.wait(host.drip_s)

            @override
            def log_message(self, format, *args):
                pass

        ended = threading.Event()
        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.handle_error = lambda *_: None  # the reader hangs up on what is too much
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield Place(name, "127.0.0.1", server.server_address[1])
        finally:
            ended.set()
            server.shutdown()
            thread.join()
            server.server_close()


class World:
    """Both, and a reader with a clock of its own."""

    def __init__(self, stack, first="wireserver", timeout_s=10.0):
        self.wireserver, self.imds = Host(XML), Host(json.dumps(JSON))
        self.now_s = 1000.0
        self.links = {MAC: frozenset({Addr.parse("10.0.0.4")})}
        both = [
            stack.enter_context(self.wireserver.serving("wireserver")),
            stack.enter_context(self.imds.serving("imds")),
        ]
        both.sort(key=lambda place: place.name != first)
        self.reader = NicAddresses(
            tuple(both), lambda: self.links, lambda: self.now_s, lambda: 0.5, timeout_s
        )

    def read(self, after_s=0.0):
        self.now_s += after_s
        return self.reader.read()

    def pods(self, after_s=0.0):
        return {str(addr) for addr in self.read(after_s).nic.for_pods}

    @property
    def asked(self):
        return len(self.wireserver.asked), len(self.imds.asked)


@pytest.fixture
def stack():
    with ExitStack() as made:
        yield made


@pytest.fixture
def world(stack):
    return World(stack)


def test_the_wireserver_alone_is_asked_when_it_knows(world):
    reading = world.read()
    assert (reading.source, reading.stale, reading.age_s) == ("wireserver", "", 0)
    assert {str(addr) for addr in reading.nic.for_pods} == {"10.0.0.5"}
    path = "/machine/plugins?comp=nmagent&type=getinterfaceinfov1"
    assert world.wireserver.asked == [("GET", path, "true")]
    assert world.imds.asked == []


def test_imds_is_asked_first_when_told_so(stack):
    world = World(stack, first="imds")
    assert world.pods() == {"10.0.0.6"}
    ((method, path, header),) = world.imds.asked
    assert (method, header) == ("GET", "true")
    assert path.startswith("/metadata/instance/network?api-version=20")
    assert world.wireserver.asked == []


def test_an_environments_proxy_is_not_asked(world, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert world.pods() == {"10.0.0.5"}


def test_nobody_is_asked_again_within_ten_seconds(world):
    world.read()
    world.wireserver.body = XML.replace("10.0.0.5", "10.0.0.9").encode()
    assert world.pods(after_s=INTERVAL_S - 0.1) == {"10.0.0.5"}
    assert world.pods(after_s=0.1) == {"10.0.0.9"}
    assert world.asked == (2, 0)


def test_many_threads_at_once_are_one_question(world):
    threads = [threading.Thread(target=world.read) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert world.asked == (1, 0)


@pytest.mark.parametrize(
    "answer",
    [
        (404, XML),
        (500, ""),
        (200, ""),
        (200, "<Interfaces>"),
        (200, f"<!DOCTYPE x>{XML}"),
        (200, "<Error/>"),
        (200, XML.replace(MAC, "000D3A0000FF")),
        (200, XML + " " * (1 << 20)),
        (302, XML),
    ],
    ids=["404", "500", "empty", "cut-off", "doctype", "another", "mac", "huge", "elsewhere"],
)
def test_imds_helps_out_where_the_wireserver_does_not(world, answer):
    world.wireserver.status, text = answer
    world.wireserver.body = text.encode()
    world.wireserver.headers = {"Location": "/other"} if answer[0] == 302 else {}
    reading = world.read()
    assert reading.source == "imds"
    assert world.asked == (1, 1)


@pytest.mark.parametrize("how", ["slow_s", "drip_s"])
def test_who_is_too_slow_is_given_up(stack, how):
    world = World(stack, timeout_s=0.2)
    setattr(world.wireserver, how, 60 if how == "slow_s" else 0.05)
    begun_s = time.monotonic()
    assert world.read().source == "imds"
    assert time.monotonic() - begun_s < 10


def test_what_was_known_stays_and_is_said_to_be_old(world):
    world.read()
    world.wireserver.status = world.imds.status = 503
    reading = world.read(after_s=40)
    assert (reading.source, reading.age_s) == ("wireserver", 40)
    assert "wireserver: answers with status 503; imds: answers with status 503" in reading.stale
    assert world.read(after_s=INTERVAL_S - 0.1).stale
    assert world.asked == (2, 1)
    world.imds.status = 200
    fresh = world.read(after_s=2)
    assert (fresh.source, fresh.stale, fresh.age_s) == ("imds", "", 0)


def test_when_nothing_was_ever_known_it_is_tried_again_sooner_and_ever_later(world):
    world.wireserver.status = world.imds.status = 503
    times = []
    for tenths in range(400):
        before = world.asked[0]
        with pytest.raises(Unavailable, match=r"NIC are not known: wireserver: answers with"):
            world.read(after_s=0.1)
        if world.asked[0] > before:
            times.append(tenths / 10)
    waits = [b - a for a, b in pairwise(times)]
    assert waits[:5] == pytest.approx([1.1, 2.2, 4.4, 8.8, 11.0], abs=0.11)


def test_a_retry_after_is_kept_although_the_turn_has_come(world):
    world.wireserver.status = 404
    world.imds.status, world.imds.headers = 429, {"Retry-After": "25"}
    for _ in range(3):
        with pytest.raises(Unavailable, match=r"imds: (answers with status 429|wants no question)"):
            world.read(after_s=8)
    assert world.asked == (3, 1)
    world.imds.status = 200
    assert world.read(after_s=10).source == "imds"


@pytest.mark.parametrize(("text", "rest_s"), [("soon", 5), ("99999", 300), ("", 5)])
def test_a_senseless_retry_after(world, text, rest_s):
    world.wireserver.status = 404
    world.imds.status, world.imds.headers = 429, {"Retry-After": text}
    with pytest.raises(Unavailable, match="429"):
        world.read()
    for seconds, asked in ((rest_s - 1, 1), (2, 2)):
        world.reader._next_s = 0.0  # so that only the place's own wish is in the way
        with pytest.raises(Unavailable):
            world.read(after_s=seconds)
        assert world.asked[1] == asked


def test_where_they_answer_unless_told_otherwise():
    assert places({}) == (
        Place("wireserver", "168.63.129.16", 80),
        Place("imds", "169.254.169.254", 80),
    )


def test_where_they_answer_by_settings():
    environ = {
        "KORAT_AZURE_WIRESERVER": "http://127.0.0.1:8080/",
        "KORAT_AZURE_IMDS": "http://[::1]:81",
        "KORAT_AZURE_ADDRESS_SOURCE": "imds",
    }
    assert places(environ) == (Place("imds", "::1", 81), Place("wireserver", "127.0.0.1", 8080))


@pytest.mark.parametrize(
    "url",
    [
        "https://127.0.0.1",
        "127.0.0.1:80",
        "http://",
        "http://a/path",
        "http://a?x=1",
        "http://u:p@a",
        "http://a:99999",
        "http://[::1",
        "file:///etc/passwd",
    ],
)
def test_what_is_no_place_is_refused(url):
    environ = {"KORAT_AZURE_IMDS": url, "KORAT_AZURE_ADDRESS_SOURCE": "arm"}
    with pytest.raises(Invalid) as raised:
        places(environ)
    assert {p.field for p in raised.value.problems} == set(environ)
