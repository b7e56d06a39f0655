#!/bin/sh
# Installs those of these Debian packages that are not there, and starts nothing that comes with
# them: etcd-server's installation would start an etcd, now and at each boot.
# Usage: tools/packages.sh PACKAGE...
set -eu

missing=""
for package in "$@"; do
  dpkg -s "$package" >/dev/null 2>&1 || missing="$missing $package"
done
[ -n "$missing" ] || exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1; then
  echo "missing packages, and they cannot be installed here; as root: apt-get install$missing" >&2; exit 1
fi
echo "installing:$missing"
export DEBIAN_FRONTEND=noninteractive
policy=/usr/sbin/policy-rc.d
if [ -e "$policy" ]; then
  policy=""
else
  trap 'rm -f "$policy"' EXIT
  trap 'exit 1' INT TERM
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod +x "$policy"
fi
apt-get update -qq
# shellcheck disable=SC2086
apt-get install -y -qq --no-install-recommends $missing >/dev/null
case $missing in *etcd-server*)
  systemctl disable --now etcd >/dev/null 2>&1 || true
  update-rc.d etcd disable >/dev/null 2>&1 || true ;;
esac
