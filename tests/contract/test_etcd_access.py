"""korat's client of etcd where etcd asks who it is: users, tokens, certificates."""

import datetime as dt
import ipaddress
import time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from etcd_world import follow, put, running
from korat.core.errors import Unavailable
from korat.drivers.etcd.client import Etcd

PASSWORD = "never-tell-me"  # noqa: S105 - of an etcd that lives for a second


def test_users_and_tokens(tmp_path):
    options = ["--auth-token-ttl", "1", "--bcrypt-cost", "4"]
    with running(tmp_path / "etcd", options=options) as world:
        user = {"username": "korat", "password": PASSWORD, "timeout_s": 3.0}
        with (
            Etcd(world.settings(**user)) as etcd,
            Etcd(world.settings(**user)) as listener,
            Etcd(world.settings(timeout_s=3.0)) as nobody,
        ):
            # etcd asks nobody who they are yet.
            revision = put(etcd, "/korat/a")
            with listener.watch("/korat/", revision) as watch:
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


def test_certificates_of_both_sides(tmp_path, capfd):
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
    assert capfd.readouterr().err == ""
