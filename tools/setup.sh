#!/bin/sh
# Installs what korat needs on Debian 12 (or one like it): system packages, then a venv from the lock.
set -eu
venv=${1:-.venv}

missing=""
need() { # need PACKAGE TEST...: the package, unless the test passes
  package=$1; shift
  "$@" >/dev/null 2>&1 || missing="$missing $package"
}
have_lib() { ls /usr/lib/*/"$1" /usr/lib/"$1" 2>/dev/null | grep -q .; }
need iproute2 command -v ip
need nftables sh -c 'PATH=$PATH:/usr/sbin:/sbin command -v nft'
need libnftables1 have_lib libnftables.so.1
need python3-venv python3 -c 'import ensurepip, venv'
need ca-certificates test -e /etc/ssl/certs/ca-certificates.crt

if [ -n "$missing" ]; then
  if ! command -v apt-get >/dev/null 2>&1; then
    echo "korat needs these packages, and there is no apt-get here to install them:$missing" >&2; exit 1
  fi
  if [ "$(id -u)" != 0 ]; then
    echo "korat needs these packages; run as root: apt-get install$missing" >&2; exit 1
  fi
  echo "installing:$missing"
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq
  # shellcheck disable=SC2086
  apt-get install -y -qq --no-install-recommends $missing >/dev/null
fi

python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
  echo "korat needs Python 3.11 or newer; this is $(python3 --version)" >&2; exit 1
}
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
echo "installing korat into $venv"
"$venv/bin/python" -m pip install -q --disable-pip-version-check --require-hashes -r requirements.lock
"$venv/bin/python" -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
