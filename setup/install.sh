#!/usr/bin/env bash
# Makes .venv hold exactly what the locks name, and the command `medimg`. Usage: setup/install.sh [core] [volumes] [idc] [share] [dev]
#
# What was installed once stays: `make demo` after `make test` takes nothing away. With nothing to do it returns at once, without a network.
# .venv/.medimg keeps a copy of each installed lock; a lock that differs from its copy is what there is to do.
# PLATFORM=py310|py313 chooses the platform; without it setup/platform.sh does.
set -euo pipefail
cd -P "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=setup/uv.sh
. setup/uv.sh
# shellcheck source=setup/platform.sh
. setup/platform.sh

INSTALLED=.venv/.medimg

lock_of() {
  case "$1" in
    core) printf 'requirements/%s.lock' "$PLATFORM" ;;
    *) printf 'requirements/%s-%s.lock' "$PLATFORM" "$1" ;;
  esac
}

is_current() {
  local name
  cmp -s pyproject.toml "$INSTALLED/pyproject.toml" || return 1
  for name in "$@"; do cmp -s "$(lock_of "$name")" "$INSTALLED/$name.lock" || return 1; done
}

make_venv() {
  local version
  version=$(python_of "$PLATFORM")
  say "creating .venv with Python $version"
  rm -rf .venv
  "$UV" venv --quiet --python "$(find_python "$version")" .venv ||
    stop "no Python $version here, and uv could not download one. Install python$version (with pyenv: pyenv install $version)"
}

install_locks() {
  local name locks=()
  for name in "$@"; do locks+=("$(lock_of "$name")"); done
  say "installing ${locks[*]}"
  mkdir -p "$INSTALLED"
  rm -f "$INSTALLED/core.lock"
  # Not --compile-bytecode: it takes 27 s on two cores and saves 14 s, once, at the first import of TFX. Where that would be each time uv.sh asks for it.
  "$UV" pip sync --quiet --python .venv --require-hashes "${locks[@]}" ||
    stop "the packages could not be installed (see above). pyfarmhash is compiled from source: it needs a C++ compiler and Python's headers (Debian, Ubuntu: apt-get install g++ python3-dev)"
  "$UV" pip install --quiet --python .venv --no-deps --no-build-isolation --offline --editable . || stop "the project itself could not be installed (see above)"
  cp pyproject.toml "$INSTALLED/pyproject.toml"
  # The core last: without its copy nothing counts as installed.
  for name in volumes idc share dev core; do if [[ " $* " == *" $name "* ]]; then cp "$(lock_of "$name")" "$INSTALLED/$name.lock"; fi; done
}

main() {
  local name wanted=(core)
  for name in "$@"; do [[ " core volumes idc share dev " == *" $name "* ]] || stop "there is no lock for '$name': expected core, volumes, idc, share or dev"; done
  choose_platform
  for name in "$@"; do [ -f "$(lock_of "$name")" ] || stop "'$name' is not to be had on platform $PLATFORM (README, Platforms)"; done
  venv_works "$PLATFORM" || { find_uv; make_venv; }
  for name in volumes idc share dev; do
    if [[ " $* " == *" $name "* ]] || [ -f "$INSTALLED/$name.lock" ]; then wanted+=("$name"); fi
  done
  if is_current "${wanted[@]}"; then return; fi
  find_uv
  install_locks "${wanted[@]}"
  say "done"
}

main "$@"
