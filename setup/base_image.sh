#!/usr/bin/env bash
# Makes a base image for the Dockerfile where no image registry can be reached: Debian by debootstrap, with Python.
# Usage: setup/base_image.sh [py313|py310]
#
# Prints the image's name, medimg-base:<platform>; the Dockerfile takes it as BASE_PY313 or BASE_PY310. An image of that name is kept.
# py313: trixie with Debian's own Python. py310: bookworm with this machine's Python 3.10 (pyenv's, or another with everything under one prefix).
set -euo pipefail
cd -P "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=setup/uv.sh
. setup/uv.sh
# shellcheck source=setup/platform.sh
. setup/platform.sh

DOCKER="${DOCKER:-docker}"
DEBIAN="${DEBIAN_MIRROR:-http://deb.debian.org/debian}"
LIBRARIES=libbz2-1.0,libexpat1,libffi8,liblzma5,libncursesw6,libreadline8,libsqlite3-0,libssl3,libuuid1,zlib1g

check_machine() {
  local program missing=()
  [ "$(id -u)" -eq 0 ] || missing+=("root's rights")
  for program in debootstrap tar "$DOCKER"; do command -v "$program" >/dev/null || missing+=("$program"); done
  [ ${#missing[@]} -eq 0 ] || stop "the base image needs what is missing here: $(printf '%s, ' "${missing[@]}" | sed 's/, $//')"
  "$DOCKER" version >/dev/null 2>&1 || stop "no container engine answers \`$DOCKER version\`"
}

# make_root SUITE PACKAGES
make_root() {
  say "making a Debian $1 root (a minute)"
  debootstrap --variant=minbase --include="$2" "$1" "$ROOT" "$DEBIAN" >"$WORK/log" 2>&1 || stop "debootstrap failed: $(tail -n 1 "$WORK/log")"
  # A name without an address, as in the images of registries: a mirror that this machine needs stays here.
  printf 'deb http://deb.debian.org/debian %s main\n' "$1" >"$ROOT/etc/apt/sources.list"
  rm -rf "$ROOT"/var/{cache/apt/*,lib/apt/lists/*,log/*} "$ROOT"/usr/share/{doc,info,locale,man}/* "$ROOT"/etc/{resolv.conf,hostname}
}

# bookworm's own Python is 3.11: this machine's comes along, and LIBRARIES are what it is linked to.
copy_python() {
  local python prefix parts
  python=$(find_python "$1")
  [ -x "$python" ] || python="python$1"
  prefix=$("$python" -c 'import sys; print(sys.base_prefix)' 2>/dev/null) || stop "no Python $1 here. Install python$1 (with pyenv: pyenv install $1)"
  mapfile -t parts < <(cd "$prefix" && ls -d "bin/python$1" "include/python$1" "lib/python$1" "lib/libpython$1".so* 2>/dev/null)
  tar --create --directory "$prefix" --exclude="lib/python$1/test" --exclude='site-packages/*' --exclude='__pycache__' "${parts[@]}" |
    tar --extract --no-same-owner --directory "$ROOT/usr/local"
  ln -s "python$1" "$ROOT/usr/local/bin/python3"
  chroot "$ROOT" /sbin/ldconfig
}

main() {
  local platform="${1:-$NEWER}" version name
  check_platform "$platform"
  version=$(python_of "$platform")
  name="medimg-base:$platform"
  check_machine
  if ! "$DOCKER" image inspect "$name" >/dev/null 2>&1; then
    WORK=$(mktemp -d)
    ROOT="$WORK/root"
    trap 'rm -rf "$WORK"' EXIT
    if [ "$platform" = "$NEWER" ]; then
      make_root trixie python3,python3-venv,ca-certificates
    else
      make_root bookworm "ca-certificates,$LIBRARIES"
      copy_python "$version"
    fi
    chroot "$ROOT" python3 -c "import ctypes, ssl, sqlite3, sys; sys.exit('%d.%d' % sys.version_info[:2] != '$version')" ||
      stop "the root does not hold a Python $version that works"
    tar --create --numeric-owner --directory "$ROOT" . | "$DOCKER" import - "$name" >/dev/null
  fi
  printf '%s\n' "$name"
}

main "$@"
