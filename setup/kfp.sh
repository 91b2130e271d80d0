#!/usr/bin/env bash
# Makes FOLDER a virtual environment with kfp's SDK, whose parser judges our specs. Usage: setup/kfp.sh FOLDER PYTHON
#
# It wants a newer protobuf than TFX 1.16.0 (and its last versions that do not, another urllib3), so it has no place in .venv.
set -euo pipefail
folder=$(realpath -m "$1")
cd -P "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=setup/uv.sh
. setup/uv.sh

if cmp -s requirements/kfp.lock "$folder/kfp.lock" && "$folder/bin/python" -c '' 2>/dev/null; then exit; fi
find_uv
rm -rf "$folder"
"$UV" venv --quiet --python "$2" "$folder"
"$UV" pip sync --quiet --python "$folder" --require-hashes requirements/kfp.lock
cp requirements/kfp.lock "$folder/kfp.lock"
