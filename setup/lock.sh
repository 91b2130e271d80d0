#!/usr/bin/env bash
# Writes requirements/*.lock anew from pyproject.toml. Usage: setup/lock.sh [--upgrade | --upgrade-package NAME]
#
# Without an option what is locked stays as it is, and only what pyproject.toml asks for newly is added. Locks carry hashes and no index host.
set -euo pipefail
cd -P "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=setup/uv.sh
. setup/uv.sh

PYTHON_VERSION=$(cat .python-version)
PLATFORM="py${PYTHON_VERSION//./}"
CORE="requirements/$PLATFORM.lock"

compile() {
  "$UV" pip compile --quiet --generate-hashes --no-header --no-annotate --no-emit-index-url --no-emit-find-links --python-version "$PYTHON_VERSION" "$@" >/dev/null
}

find_uv
[ -x .venv/bin/python ] || setup/install.sh core
say "resolving $CORE"
compile "$@" pyproject.toml "requirements/$PLATFORM.in" --output-file "$CORE"
for extra in volumes idc dev; do
  say "resolving requirements/$PLATFORM-$extra.lock"
  .venv/bin/python setup/locks.py --list "$extra" | compile "$@" - --constraints "$CORE" --output-file "requirements/$PLATFORM-$extra.lock"
done
say "resolving requirements/$PLATFORM-fetch.lock"
compile "$@" requirements/fetch.in --constraints "$CORE" --output-file "requirements/$PLATFORM-fetch.lock"
