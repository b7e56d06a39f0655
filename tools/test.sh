#!/bin/sh
# The whole test suite: style and types, then what needs no kernel (on all cores), then the kernel
# tests, then the lab tests, one after the other. Says what was skipped and why. Usage: tools/test.sh VENV/bin
set -eu
bin=${1:-.venv/bin}

# Programs that some kernel tests compare korat with; where they cannot be had the tests say so.
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
  missing=""
  for package in iputils-ping containernetworking-plugins etcd-server etcd-client; do
    dpkg -s "$package" >/dev/null 2>&1 || missing="$missing $package"
  done
  if [ -n "$missing" ]; then
    echo "installing for the tests:$missing"
    apt-get update -qq
    # etcd-server's installation would start an etcd, now and at each boot; the tests start their own.
    policy=/usr/sbin/policy-rc.d
    [ ! -e "$policy" ] || policy=""
    if [ -n "$policy" ]; then
      trap 'rm -f "$policy"; exit 1' INT TERM
      printf '#!/bin/sh\nexit 101\n' >"$policy"
      chmod +x "$policy"
    fi
    # shellcheck disable=SC2086
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null || true
    if [ -n "$policy" ]; then
      rm -f "$policy"
      trap - INT TERM
    fi
    case $missing in *etcd-server*)
      systemctl disable --now etcd >/dev/null 2>&1 || true
      update-rc.d etcd disable >/dev/null 2>&1 || true ;;
    esac
  fi
fi

step() { printf '\n== %s\n' "$1"; }

step "format, lint, types, layers"
make --no-print-directory check

step "unit, property, contract and meta tests"
"$bin/pytest" -q -n auto -m "not netns and not lab" tests

if [ "$(id -u)" = 0 ]; then
  step "kernel tests, in network namespaces of their own"
  # They wait for packets more than they compute.
  "$bin/pytest" -q -n 3 -m "netns and not lab" tests
  step "lab tests: whole labs, real packets"
  "$bin/pytest" -q -m lab tests
else
  step "skipped: kernel and lab tests, because they make network namespaces and this is not root"
fi
