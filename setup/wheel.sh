#!/usr/bin/env bash
# Builds dist/medimg_tfx-<version>-py3-none-any.whl. Usage: setup/wheel.sh
set -euo pipefail
cd -P "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=setup/uv.sh
. setup/uv.sh

find_uv
# From build/ setuptools takes whatever an earlier build has left, modules included that are gone since.
rm -rf build dist
"$UV" build --quiet --wheel --out-dir dist --require-hashes --build-constraints requirements/py313.lock . >&2 ||
  stop "the wheel could not be built (see above)"
rm -rf build
say "$(ls dist/*.whl)"
