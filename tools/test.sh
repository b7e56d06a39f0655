#!/bin/sh
# The whole test suite: style and types, then what needs no kernel (on all cores), then the kernel
# tests, then the lab tests, one after the other. Says what was skipped and why. Usage: tools/test.sh VENV/bin
set -eu
bin=${1:-.venv/bin}

# Programs that some tests compare korat with; where they cannot be had the tests say so.
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
  tools/packages.sh iputils-ping containernetworking-plugins etcd-server etcd-client || true
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
  # They wait more than they compute, each for a lab of its own.
  "$bin/pytest" -q -n 2 --dist loadfile -m "lab and not timed" tests
  step "lab tests that hold a bound in seconds, with nothing beside them"
  "$bin/pytest" -q -m "lab and timed" tests
else
  step "skipped: kernel and lab tests, because they make network namespaces and this is not root"
fi
