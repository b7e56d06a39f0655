"""Running the programs that the stand-in is made of, and reading what they print."""

import shutil
import subprocess

from korat.core.errors import Unavailable, Unsupported

#: What the stand-in runs, and Debian's package of each.
PROGRAMS = {
    "bridge": "iproute2",
    "etcdctl": "etcd-client",
    "ip": "iproute2",
    "nft": "nftables",
}

_PATH = "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin"
_PATIENCE_S = 10.0

#: No variable of the caller's decides how etcdctl talks.
ENVIRON = {"PATH": _PATH, "LC_ALL": "C", "ETCDCTL_API": "3"}


def find(name: str) -> str:
    """The program's path.

    Raises:
        Unsupported: it is not installed.
    """
    path = shutil.which(name, path=_PATH)
    if path is None:
        raise Unsupported(f"the lab's flanneld runs {name}, which is not installed", "install it")
    return path


def run(name: str, *arguments: str, text: str = "") -> str:
    """What the program prints, given ``text`` as its input.

    Raises:
        Unavailable: it failed, or took too long.
        Unsupported: it is not installed.
    """
    said = " ".join((name, *arguments))
    try:
        done = subprocess.run(
            [find(name), *arguments],
            input=text,
            capture_output=True,
            text=True,
            timeout=_PATIENCE_S,
            check=True,
            env=ENVIRON,
        )
    except subprocess.TimeoutExpired as error:
        raise Unavailable(f"{said} took more than {_PATIENCE_S:g} s") from error
    except subprocess.CalledProcessError as error:
        last = (error.stderr.strip() or "it said nothing").splitlines()[-1]
        raise Unavailable(f"{said} failed: {last}") from error
    return done.stdout
