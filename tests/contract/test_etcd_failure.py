"""korat's client of etcd when members die, hang, forget, or ask who it is."""

import datetime as dt
import ipaddress
import re
import shutil
import threading
import time
from contextlib import contextmanager

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from etcd_world import PATIENCE_S, free_port, running, wire
from korat.core.errors import NotFound, Unavailable
from korat.drivers.etcd.client import Etcd
from korat.drivers.etcd.error import OutcomeUnknown
from korat.drivers.etcd.settings import Endpoint, EtcdSettings
from korat.drivers.etcd.value import Absent, Put

PASSWORD = "never-tell-me"  # noqa: S105 - of an etcd that lives for a second


@pytest.fixture
def own(tmp_path):
    """An etcd of the test's own, to be stopped and wiped."""
    with running(tmp_path / "etcd") as world:
        yield world


def put(etcd, key, value=b""):
    return etcd.txn((), [Put(key, value)]).revision


@contextmanager
def writer(etcd, prefix):
    """Writes one key after another; gives the revisions that etcd confirmed."""
    wrote, stop = {}, threading.Event()

    def write():
        number = 0
        while not stop.is_set():
            number += 1
            try:
                wrote[put(etcd, f"{prefix}{number}")] = number
            except Unavailable:
                continue
            time.sleep(0.002)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield wrote
    finally:
        stop.set()
        thread.join(PATIENCE_S)


def follow(watch, until):
    """Every change up to a revision."""
    changes, deadline = [], time.monotonic() + PATIENCE_S
    while not changes or changes[-1].revision < until:
        assert time.monotonic() < deadline
        changes += watch.poll(0.5)
    return changes


def test_a_watch_over_a_wire_that_is_cut_again_and_again(etcd_server):
    prefix = "/cut/"
    with (
        wire(etcd_server.member) as line,
        Etcd(etcd_server.settings()) as near,
        Etcd(EtcdSettings((line.endpoint,))) as far,
    ):
        start = near.range(prefix).revision
        with far.watch(prefix, start) as watch, writer(near, prefix) as wrote:
            changes, cuts = [], 0
            while cuts < 8:
                if changes_now := watch.poll(0.2):
                    changes += changes_now
                    line.cut()
                    cuts += 1
        with far.watch(prefix, changes[-1].revision) as watch:
            if max(wrote) > changes[-1].revision:
                changes += follow(watch, max(wrote))
    assert [c.revision for c in changes] == sorted(wrote)
    assert len(changes) > 50


def test_a_write_whose_answer_is_lost_is_told_apart(etcd_server):
    with (
        wire(etcd_server.member) as line,
        Etcd(EtcdSettings((line.endpoint,), timeout_s=1.0)) as far,
        Etcd(etcd_server.settings()) as near,
    ):
        put(far, "/lost/before")
        line.deaf = True
        with pytest.raises(OutcomeUnknown, match="read before it is tried again"):
            far.txn([Absent("/lost/key")], [Put("/lost/key", b"written")])
        # It was done, which only a reader can tell.
        assert near.get("/lost/key").value == b"written"
        line.deaf = False
        assert not far.txn([Absent("/lost/key")], [Put("/lost/key", b"")]).succeeded


def test_a_write_that_was_not_sent_is_no_unknown_one(own):
    with Etcd(own.settings(timeout_s=0.5)) as etcd:
        put(etcd, "/a")
        own.member.kill()
        # The connection may still be taken for good once.
        with pytest.raises(Unavailable):
            put(etcd, "/b")
        with pytest.raises(Unavailable, match="refused") as caught:
            put(etcd, "/c")
        assert not isinstance(caught.value, OutcomeUnknown)
        assert "ETCD_ENDPOINTS" in str(caught.value)


def test_a_member_that_hangs(own):
    with Etcd(own.settings(timeout_s=0.5)) as etcd:
        put(etcd, "/a", b"1")
        with own.member.paused():
            start = time.monotonic()
            with pytest.raises(OutcomeUnknown):
                put(etcd, "/a", b"2")
            with pytest.raises(Unavailable) as caught:
                etcd.get("/a")
            assert not isinstance(caught.value, OutcomeUnknown)
            assert time.monotonic() - start < 3
        assert etcd.get("/a").value in {b"1", b"2"}


def test_a_member_that_never_says_a_word_is_left_for_another(etcd_server, monkeypatch):
    monkeypatch.setattr("korat.drivers.etcd.connection._CONNECT_S", 0.3)
    asked_first = 0
    monkeypatch.setattr("korat.drivers.etcd.connection.secrets.randbelow", lambda _: asked_first)
    with wire(etcd_server.member) as line:
        line.deaf = True
        endpoints = (line.endpoint, etcd_server.member.endpoint)
        for asked_first in range(2):
            start = time.monotonic()
            with Etcd(etcd_server.settings(endpoints=endpoints)) as etcd:
                assert put(etcd, "/silent/a") == etcd.get("/silent/a").revision
            assert (time.monotonic() - start > 0.3) == (asked_first == 0)


def test_a_read_is_asked_of_another_member_when_the_first_hangs(etcd_server, monkeypatch):
    monkeypatch.setattr("korat.drivers.etcd.connection.secrets.randbelow", lambda _: 0)
    with wire(etcd_server.member) as line:
        endpoints = (line.endpoint, etcd_server.member.endpoint)
        with Etcd(etcd_server.settings(endpoints=endpoints, timeout_s=2.0)) as etcd:
            assert etcd.get("/none") is None
            line.deaf = True
            assert etcd.get("/none") is None
            put(etcd, "/some")


def test_a_member_of_three_dies(tmp_path):
    with running(tmp_path / "etcd", size=3) as world, Etcd(world.settings()) as etcd:
        start = etcd.range("/die/").revision
        by_port = {member.port: member for member in world.members}
        with etcd.watch("/die/", start) as watch, writer(etcd, "/die/") as wrote:
            changes = []
            while len(changes) < 20:
                changes += watch.poll(0.5)
            with etcd._caller.use(time.monotonic() + 1) as connection:
                dying = by_port[connection.endpoint.port]
            dying.kill()
            before = len(wrote)
            deadline = time.monotonic() + PATIENCE_S
            while len(wrote) < before + 50:
                assert time.monotonic() < deadline
                changes += watch.poll(0.2)
        with etcd.watch("/die/", start) as fresh:
            everything = follow(fresh, max(wrote))
        # Whatever was confirmed is there; the watch that lived through it heard the same.
        told = {change.revision for change in everything}
        assert set(wrote) <= told
        assert changes == everything[: len(changes)]
        assert len({c.revision for c in changes}) == len(changes)
        _check_without_quorum(world, dying, etcd)


def _check_without_quorum(world, dead, etcd):
    alive = [member for member in world.members if member is not dead]
    alive[0].kill()
    last = alive[1]
    with Etcd(world.settings(endpoints=(last.endpoint,), timeout_s=0.7)) as lonely:
        deadline = time.monotonic() + PATIENCE_S
        while True:
            assert time.monotonic() < deadline
            try:
                put(lonely, "/lonely")
            except OutcomeUnknown:
                continue  # It has not noticed yet.
            except Unavailable as error:
                assert "no leader" in str(error)  # noqa: PT017 - one of two errors, by time
                break
    alive[0].start(",".join(f"{m.name}={m.peer_url}" for m in world.members))
    alive[0].wait()
    assert put(etcd, "/again")


def test_another_etcd_in_the_same_place(own, etcd_server):
    with Etcd(etcd_server.settings()) as other, Etcd(own.settings()) as near:
        after = put(near, "/a")
        while put(other, "/other") <= after:
            pass  # So that its revisions alone do not give it away.
        with (
            wire(own.member) as line,
            Etcd(EtcdSettings((line.endpoint,))) as far,
            far.watch("/", after) as watch,
        ):
            assert [change.key for change in follow(watch, put(near, "/b"))] == ["/b"]
            line.lead_to(etcd_server.member)
            with pytest.raises(NotFound, match=r"another cluster .* list again"):
                follow(watch, 1 << 40)


def test_an_etcd_that_was_wiped(own):
    with Etcd(own.settings()) as etcd:
        for _ in range(5):
            revision = put(etcd, "/a")
        own.member.kill()
        shutil.rmtree(own.member.folder / own.member.name)
        own.start()
        with (
            etcd.watch("/", revision) as watch,
            pytest.raises(NotFound, match=r"never had .* list again"),
        ):
            follow(watch, revision + 1)


def test_a_restart_is_no_end_of_a_watch(own):
    with Etcd(own.settings()) as etcd:
        revision = put(etcd, "/a")
        with etcd.watch("/", revision) as watch:
            assert watch.poll(0.2) == ()
            own.member.kill()
            own.start()
            revision = put(etcd, "/b")
            assert [c.key for c in follow(watch, revision)] == ["/b"]


def test_a_silent_watch_says_so(own):
    with Etcd(own.settings(timeout_s=0.5)) as etcd, etcd.watch("/", put(etcd, "/a")) as watch:
        assert watch.poll(0.2) == ()
        own.member.kill()
        assert re.search(r"interrupted for .* goes on trying", str(hear(watch)))
        own.start()
        revision = put(etcd, "/b")
        while isinstance(heard := hear(watch), Unavailable):
            pass
        assert [c.revision for c in heard] == [revision]


def hear(watch):
    """What comes first of a watch: changes, or an error."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        try:
            changes = watch.poll(0.2)
        except Unavailable as error:
            return error
        if changes:
            return changes
    raise AssertionError("nothing came")


# Who may.


def test_users_and_tokens(tmp_path):
    options = ["--auth-token-ttl", "1", "--bcrypt-cost", "4"]
    with running(tmp_path / "etcd", options=options) as world:
        user = {"username": "korat", "password": PASSWORD, "timeout_s": 3.0}
        with Etcd(world.settings(**user)) as etcd, Etcd(world.settings(timeout_s=3.0)) as nobody:
            # etcd asks nobody who they are yet.
            revision = put(etcd, "/korat/a")
            with etcd.watch("/korat/", revision) as watch:
                _ask_for_users(world)
                put(etcd, "/korat/b")
                time.sleep(2.1)  # The token ends.
                last = put(etcd, "/korat/c")
                assert [c.key for c in follow(watch, last)] == ["/korat/b", "/korat/c"]
                world.member.kill()  # And all tokens with it.
                world.start()
                last = put(etcd, "/korat/d")
                assert [c.key for c in follow(watch, last)] == ["/korat/d"]
            with pytest.raises(Unavailable, match="a role for it"):
                etcd.get("/elsewhere")
            with pytest.raises(Unavailable, match="set ETCD_USERNAME and ETCD_PASSWORD"):
                nobody.get("/korat/a")
        wrong = world.settings(**user | {"password": f"{PASSWORD}x"})
        refused = pytest.raises(Unavailable, match="check ETCD_USERNAME")
        with Etcd(wrong) as etcd, refused as caught:
            etcd.get("/korat/a")
        assert PASSWORD not in f"{caught.value}{wrong!r}{caught.value.__cause__!r}"


def _ask_for_users(world):
    for user, role in (("root", "root"), ("korat", "korat")):
        world.ctl("user", "add", f"{user}:{PASSWORD}")
        world.ctl("role", "add", role)
        world.ctl("user", "grant-role", user, role)
    world.ctl("role", "grant-permission", "korat", "--prefix=true", "readwrite", "/korat/")
    world.ctl("auth", "enable")


class Authority:
    """Signs certificates for tests."""

    def __init__(self, folder, name):
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.folder = folder
        self.file = folder / f"{name}.pem"
        self._write(self.file, self.key, self.name, ca=True)

    def issue(self, name):
        """The files of a certificate and of its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate, private = self.folder / f"{name}.pem", self.folder / f"{name}-key.pem"
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self._write(certificate, key, subject, ca=False)
        private.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return certificate, private

    def _write(self, path, key, subject, *, ca):
        now = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
        names = [x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        certificate = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now)
            .not_valid_after(now + dt.timedelta(days=36500))
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .sign(self.key, hashes.SHA256())
        )
        path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))


def test_certificates_of_both_sides(tmp_path):
    right, wrong = Authority(tmp_path, "right"), Authority(tmp_path, "wrong")
    server, server_key = right.issue("server")
    mine, my_key = right.issue("mine")
    options = ["--client-cert-auth", "--trusted-ca-file", str(right.file)]
    options += ["--cert-file", str(server), "--key-file", str(server_key)]
    with running(tmp_path / "etcd", secure=True, options=options) as world:
        good = {"ca_file": right.file, "cert_file": mine, "key_file": my_key}

        def settings(**changed):
            return world.settings(timeout_s=0.5, **good | changed)

        with Etcd(settings()) as etcd:
            assert put(etcd, "/a") == etcd.get("/a").revision
        for changed, said in (
            ({"ca_file": wrong.file}, "CERTIFICATE_VERIFY_FAILED"),
            ({"cert_file": None, "key_file": None}, r"127\.0\.0\.1:\d+: "),
            ({"ca_file": tmp_path / "none.pem"}, "none.pem cannot be read"),
        ):
            with Etcd(settings(**changed)) as etcd, pytest.raises(Unavailable, match=said):
                etcd.get("/a")
        other, other_key = wrong.issue("renewed")
        with Etcd(settings(cert_file=other, key_file=other_key)) as etcd:
            with pytest.raises(Unavailable):
                etcd.get("/a")
            # The files are renewed, and the client goes on.
            renewed, renewed_key = right.issue("renewed")
            assert (renewed, renewed_key) == (other, other_key)
            assert etcd.get("/a") is not None


def test_nobody_is_there():
    endpoint = Endpoint("127.0.0.1", free_port(), secure=False)
    with Etcd(EtcdSettings((endpoint,), timeout_s=0.5)) as etcd:
        start = time.monotonic()
        with pytest.raises(Unavailable, match=rf"{endpoint.target}: .*refused"):
            etcd.range("/")
        assert time.monotonic() - start < 2


def test_a_client_that_is_closed_ends_its_watches(etcd_server):
    etcd = Etcd(etcd_server.settings())
    watch = etcd.watch("/closed/", etcd.range("/closed/").revision)
    assert watch.poll(0.1) == ()
    etcd.close()
    with pytest.raises(Unavailable, match="has ended"):
        watch.poll(PATIENCE_S)
    with pytest.raises(Unavailable, match="was closed"):
        etcd.get("/a")
