#!/usr/bin/env bash
# Makes .venv hold exactly what the locks name, and the command `medimg`. Usage: setup/install.sh [core] [volumes] [idc] [dev]
#
# What was installed once stays: `make demo` after `make test` takes nothing away. With nothing to do it returns at once, without a network.
# .venv/.medimg keeps a copy of each installed lock; a lock that differs from its copy is what there is to do.
set -euo pipefail
cd -P "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=setup/uv.sh
. setup/uv.sh

PYTHON_VERSION=$(cat .python-version)
PLATFORM="py${PYTHON_VERSION//./}"
INSTALLED=.venv/.medimg

lock_of() {
  case "$1" in
    core) printf 'requirements/%s.lock' "$PLATFORM" ;;
    *) printf 'requirements/%s-%s.lock' "$PLATFORM" "$1" ;;
  esac
}

# A virtual environment breaks when its Python goes away or its folder moves: scripts in it hold absolute paths, and a copy would run the original's code.
venv_works() {
  grep -qsF "$PWD/.venv" .venv/bin/activate &&
    .venv/bin/python -c "import sys; sys.exit('%d.%d' % sys.version_info[:2] != '$PYTHON_VERSION')" 2>/dev/null
}

is_current() {
  local name
  cmp -s pyproject.toml "$INSTALLED/pyproject.toml" || return 1
  for name in "$@"; do cmp -s "$(lock_of "$name")" "$INSTALLED/$name.lock" || return 1; done
}

# pyenv's `python3.10` is a shim that depends on the folder; uv is given the interpreter itself.
find_python() {
  local newest
  newest=$(pyenv versions --bare 2>/dev/null | grep -E "^${PYTHON_VERSION//./\\.}\.[0-9]+$" | sort -V | tail -n 1) || true
  if [ -n "$newest" ]; then printf '%s/bin/python' "$(pyenv prefix "$newest")"; else printf '%s' "$PYTHON_VERSION"; fi
}

make_venv() {
  say "creating .venv with Python $PYTHON_VERSION"
  rm -rf .venv
  "$UV" venv --quiet --python "$(find_python)" .venv ||
    stop "no Python $PYTHON_VERSION here, and uv could not download one. Install python$PYTHON_VERSION (with pyenv: pyenv install $PYTHON_VERSION)"
}

install_locks() {
  local name locks=()
  for name in "$@"; do locks+=("$(lock_of "$name")"); done
  say "installing ${locks[*]}"
  mkdir -p "$INSTALLED"
  rm -f "$INSTALLED/core.lock"
  # Not --compile-bytecode: it takes 27 s on two cores and saves 14 s, once, at the first import of TFX (the image asks for it by UV_COMPILE_BYTECODE).
  "$UV" pip sync --quiet --python .venv --require-hashes "${locks[@]}" ||
    stop "the packages could not be installed (see above). pyfarmhash is compiled from source: it needs a C++ compiler (Debian, Ubuntu: apt-get install g++)"
  "$UV" pip install --quiet --python .venv --no-deps --no-build-isolation --offline --editable . || stop "the project itself could not be installed (see above)"
  cp pyproject.toml "$INSTALLED/pyproject.toml"
  # The core last: without its copy nothing counts as installed.
  for name in volumes idc dev core; do if [[ " $* " == *" $name "* ]]; then cp "$(lock_of "$name")" "$INSTALLED/$name.lock"; fi; done
}

main() {
  local name wanted=(core)
  for name in "$@"; do [[ " core volumes idc dev " == *" $name "* && -f "$(lock_of "$name")" ]] || stop "there is no lock for '$name': expected core, volumes, idc or dev"; done
  venv_works || { find_uv; make_venv; }
  for name in volumes idc dev; do
    if [[ " $* " == *" $name "* ]] || [ -f "$INSTALLED/$name.lock" ]; then wanted+=("$name"); fi
  done
  if is_current "${wanted[@]}"; then return; fi
  find_uv
  install_locks "${wanted[@]}"
  say "done"
}

main "$@"
