"""Where etcd is and who korat is to it, from Calico's variables or from flannel's.

The settings hold a password: nothing here prints it, and no error quotes it. Nothing is connected
here, and gRPC is not imported, so any program may read its settings early.

Source: libcalico-go/lib/apiconfig; flannel's main.go (its flags, each a variable FLANNELD_...).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from korat.core.errors import Invalid, Problem, Unsupported

DEFAULT_FLANNEL_ENDPOINTS = "http://127.0.0.1:4001,http://127.0.0.1:2379"
DEFAULT_FLANNEL_PREFIX = "/coreos.com/network"
#: How long one call may take, over all members that are asked.
TIMEOUT_S = 10.0

_PORT = 2379
_WHERE = "environment"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One member of etcd's, as a client reaches it."""

    host: str
    port: int
    secure: bool

    @property
    def target(self) -> str:
        """``host:port``, an IPv6 address in brackets."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class EtcdSettings:
    """How to reach etcd. ``prefix`` is what the variables' names begin with, for remedies."""

    endpoints: tuple[Endpoint, ...]
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    username: str = ""
    password: str = field(default="", repr=False)
    timeout_s: float = TIMEOUT_S
    prefix: str = "ETCD_"


@dataclass(frozen=True, slots=True)
class FlannelEtcd:
    """flannel's settings: its etcd, and the prefix of its keys, without a slash at the end."""

    etcd: EtcdSettings
    root: str


@dataclass(frozen=True, slots=True)
class _Names:
    prefix: str
    ca_file: str
    cert_file: str
    key_file: str


_CALICO = _Names("ETCD_", "ETCD_CA_CERT_FILE", "ETCD_CERT_FILE", "ETCD_KEY_FILE")
_FLANNEL = _Names(
    "FLANNELD_ETCD_", "FLANNELD_ETCD_CAFILE", "FLANNELD_ETCD_CERTFILE", "FLANNELD_ETCD_KEYFILE"
)


def calico_etcd(environ: Mapping[str, str]) -> EtcdSettings:
    """Calico's etcd; each variable may carry Calico's CALICO_ prefix.

    Raises:
        Invalid: with every variable that is wrong.
        Unsupported: members are to be found by DNS.
    """
    prefix = "CALICO_ETCD_"
    named = {name[7:]: value for name, value in environ.items() if name.startswith(prefix)}
    found = {name: value for name, value in environ.items() if value}
    found = {name: value for name, value in named.items() if value} | found
    if found.get("ETCD_DISCOVERY_SRV"):
        raise Unsupported(
            "ETCD_DISCOVERY_SRV: korat does not look etcd's members up in DNS",
            "name them in ETCD_ENDPOINTS",
        )
    return _settings(found, _CALICO, "")


def flannel_etcd(environ: Mapping[str, str]) -> FlannelEtcd:
    """The etcd of flannel's, and the prefix of its keys.

    Raises:
        Invalid: with every variable that is wrong.
    """
    root = environ.get("FLANNELD_ETCD_PREFIX") or DEFAULT_FLANNEL_PREFIX
    if not root.startswith("/") or not root.strip("/"):
        rule = f"must begin with a slash and name something, as {DEFAULT_FLANNEL_PREFIX} does"
        raise Invalid([Problem(_WHERE, "FLANNELD_ETCD_PREFIX", root, rule)])
    etcd = _settings(environ, _FLANNEL, DEFAULT_FLANNEL_ENDPOINTS)
    return FlannelEtcd(etcd, root.rstrip("/"))


def _settings(environ: Mapping[str, str], names: _Names, default: str) -> EtcdSettings:
    problems: list[Problem] = []
    variable = f"{names.prefix}ENDPOINTS"
    endpoints = _endpoints(environ.get(variable) or default, variable, problems)
    cert, key = environ.get(names.cert_file), environ.get(names.key_file)
    if bool(cert) != bool(key):
        missing, given = (
            (names.key_file, names.cert_file) if cert else (names.cert_file, names.key_file)
        )
        problems.append(Problem(_WHERE, missing, None, f"must be set where {given} is"))
    named = next((name for name in (names.ca_file, names.cert_file) if environ.get(name)), None)
    if named is not None and not all(endpoint.secure for endpoint in endpoints):
        rule = f"must all begin with https:// where {named} is set"
        problems.append(Problem(_WHERE, variable, None, rule))
    user, password = (environ.get(f"{names.prefix}{each}", "") for each in _CREDENTIALS)
    if bool(user) != bool(password):
        # Neither is quoted: who mixes them up would read the password.
        missing = f"{names.prefix}{_CREDENTIALS[bool(user)]}"
        problems.append(Problem(_WHERE, missing, None, "a user and a password belong together"))
    if problems:
        raise Invalid(problems)
    return EtcdSettings(
        endpoints,
        _path(environ.get(names.ca_file)),
        _path(cert),
        _path(key),
        user,
        password,
        prefix=names.prefix,
    )


_CREDENTIALS = ("USERNAME", "PASSWORD")


def _path(text: str | None) -> Path | None:
    return Path(text) if text else None


def _endpoints(text: str, variable: str, problems: list[Problem]) -> tuple[Endpoint, ...]:
    found: list[Endpoint] = []
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts:
        rule = "is not set: name etcd's members, as https://10.0.0.4:2379, separated by commas"
        problems.append(Problem(_WHERE, variable, None, rule))
    for part in parts:
        endpoint = _endpoint(part)
        if endpoint is None:
            # Not quoted: a URL may carry a password.
            rule = "must be http:// or https:// URLs of a host and a port, separated by commas"
            problems.append(Problem(_WHERE, variable, None, rule))
        elif endpoint not in found:
            found.append(endpoint)
    return tuple(found)


def _endpoint(url: str) -> Endpoint | None:
    try:
        parts = urlsplit(url)
        port = parts.port or _PORT
    except ValueError:
        return None
    plain = not (parts.username or parts.query or parts.fragment or parts.path.strip("/"))
    if parts.scheme not in ("http", "https") or not parts.hostname or not plain:
        return None
    return Endpoint(parts.hostname, port, parts.scheme == "https")
