#!/usr/bin/env bash
# Write the lock files of requirements/ anew: every package that is installed, its version and the hashes of its files, for every
# platform and Python that has them. No address of a registry is written: pip takes what it is configured to take, and the hashes
# must fit. Usage: scripts/lock.sh [--upgrade] [further arguments of `uv pip compile`]     (make lock)
set -euo pipefail
cd "$(dirname "$0")/.."

uv=${UV:-.venv/bin/uv}
lock() { # name, extras...
  local name=$1 extras=()
  shift
  while [ $# -gt 0 ] && [ "$1" != -- ]; do
    extras+=(--extra "$1")
    shift
  done
  shift
  "$uv" pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate \
    --custom-compile-command "make lock" "${extras[@]}" "$@" --output-file "requirements/$name.txt" pyproject.toml
}

lock dev dev -- "$@"
lock bench dev bench -- --constraint requirements/dev.txt "$@"
lock app app sign -- "$@" # of its own: Fed-BioMed's old pins are not for the application
lock app-gpu app sign gpu explain -- --constraint requirements/app.txt "$@"
lock training training warehouse -- --constraint requirements/dev.txt "$@"
"$uv" pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate \
  --custom-compile-command "make lock" "$@" --output-file requirements/build.txt - <<<"hatchling>=1.25"
