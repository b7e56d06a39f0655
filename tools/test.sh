#!/bin/sh
# The whole test suite: style and types, then what needs no kernel (on all cores), then the kernel and
# lab tests, one after the other. Says what was skipped and why. Usage: tools/test.sh VENV/bin
set -eu
bin=${1:-.venv/bin}

step() { printf '\n== %s\n' "$1"; }

step "format, lint, types, layers"
make --no-print-directory check

step "unit, property, contract and meta tests"
"$bin/pytest" -q -n auto -m "not netns and not lab" tests

if [ "$(id -u)" = 0 ]; then
  step "kernel tests, in network namespaces of their own"
  "$bin/pytest" -q -m "netns and not lab" tests
  step "lab tests: whole labs, real packets"
  "$bin/pytest" -q -m lab tests
else
  step "skipped: kernel and lab tests, because they make network namespaces and this is not root"
fi
