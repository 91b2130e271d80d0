#!/usr/bin/env bash
# Writes requirements/*.lock and constraints-*.txt again from pyproject.toml, for both platforms. Usage: setup/lock.sh [--upgrade | --upgrade-package NAME]
#
# PLATFORM=py310|py313 does it for that one only.
# Without an option what is locked stays as it is, and only what pyproject.toml asks for newly is added. Locks carry hashes and no index host.
set -euo pipefail
cd -P "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=setup/uv.sh
. setup/uv.sh
# shellcheck source=setup/platform.sh
. setup/platform.sh

compile() {
  "$UV" pip compile --quiet --generate-hashes --no-header --no-annotate --no-emit-index-url --no-emit-find-links "$@" >/dev/null
}

# lock PLATFORM [uv's options]
lock() {
  local platform="$1" extra core="requirements/$1.lock"
  local target=(--python-version "$(python_of "$platform")")
  # The machine that makes the locks may itself be too old for the newer platform.
  if [ "$platform" = "$NEWER" ]; then target+=(--python-platform x86_64-manylinux_2_40); fi
  shift
  say "resolving $core"
  compile "${target[@]}" "$@" pyproject.toml "requirements/$platform.in" --output-file "$core"
  for extra in volumes idc share gpu dev; do
    say "resolving requirements/$platform-$extra.lock"
    .venv/bin/python setup/locks.py --list "$extra" | compile "${target[@]}" "$@" - --constraints "$core" --output-file "requirements/$platform-$extra.lock"
  done
  say "resolving requirements/$platform-fetch.lock"
  compile "${target[@]}" "$@" requirements/fetch.in --constraints "$core" --output-file "requirements/$platform-fetch.lock"
  .venv/bin/python setup/locks.py --constraints "$platform" >"requirements/constraints-$platform.txt.new"
  mv "requirements/constraints-$platform.txt.new" "requirements/constraints-$platform.txt"
}

if [ -n "${PLATFORM:-}" ]; then check_platform "$PLATFORM" && PLATFORMS=("$PLATFORM"); fi
find_uv
[ -x .venv/bin/python ] || setup/install.sh core
for platform in "${PLATFORMS[@]}"; do lock "$platform" "$@"; done
