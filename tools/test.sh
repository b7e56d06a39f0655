#!/bin/sh
# The whole test suite: style and types, then what needs no kernel (on all cores), then the kernel
# tests, then the lab tests, one after the other. Says what was skipped and why. Usage: tools/test.sh VENV/bin
set -eu
bin=${1:-.venv/bin}

# Programs that some kernel tests compare korat with; where they cannot be had the tests say so.
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
  missing=""
  for package in iputils-ping containernetworking-plugins; do
    dpkg -s "$package" >/dev/null 2>&1 || missing="$missing $package"
  done
  if [ -n "$missing" ]; then
    echo "installing for the tests:$missing"
    apt-get update -qq
    # shellcheck disable=SC2086
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null || true
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
