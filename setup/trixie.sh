#!/usr/bin/env bash
# Runs a command on the newer platform: in a Debian trixie root, on a copy of the working tree. Usage: setup/trixie.sh make test
#
# For machines whose own glibc is too old for it. The root, the copy and its .venv stay in ~/.cache/medimg; the next start takes seconds.
# All mounts live in a namespace of this process and end with it, whatever ends it. The network is the host's; its proxy, mirror and certificates
# are handed in when the command starts and are written nowhere.
set -euo pipefail
cd -P "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=setup/uv.sh
. setup/uv.sh

CACHE="${XDG_CACHE_HOME:-$HOME/.cache}"
OURS="$CACHE/medimg"
ROOT="$OURS/trixie"
COPY="$OURS/trixie-tree"
DEBIAN="${DEBIAN_MIRROR:-http://deb.debian.org/debian}"
# pyfarmhash is compiled from source (g++, python3-dev).
PACKAGES=python3,python3-venv,python3-dev,g++,make,git,ca-certificates
# What an environment says about mirrors, proxies and where the team's real test data lie.
PASSED='^(PIP_INDEX_URL|PIP_EXTRA_INDEX_URL|PIP_TRUSTED_HOST|PIP_DEFAULT_TIMEOUT|UV_(DEFAULT_)?INDEX.*|UV_NATIVE_TLS|(https?|no|all)_proxy|(HTTPS?|NO|ALL)_PROXY|PYTEST_.*)='

check_machine() {
  local program missing=()
  [ "$(uname -s)" = Linux ] || stop "the trixie root needs Linux, this is $(uname -s)"
  [ "$(id -u)" -eq 0 ] || missing+=("root's rights")
  for program in debootstrap unshare flock git; do command -v "$program" >/dev/null || missing+=("$program"); done
  [ ${#missing[@]} -eq 0 ] || stop "the trixie root needs what is missing here: $(printf '%s, ' "${missing[@]}" | sed 's/, $//')"
  unshare --mount true 2>/dev/null || stop "the trixie root needs mount namespaces, which this machine (a container?) refuses"
}

# Under a temporary name first: an interrupted debootstrap leaves nothing that looks finished.
make_root() {
  [ "$(cat "$ROOT/.packages" 2>/dev/null)" != "$PACKAGES" ] || return 0
  say "making a Debian trixie root in $ROOT (once, a minute)"
  rm -rf "$ROOT" "$ROOT.partial"
  debootstrap --variant=minbase --include="$PACKAGES" trixie "$ROOT.partial" "$DEBIAN" >"$OURS/debootstrap.log" 2>&1 ||
    stop "debootstrap failed: $(tail -n 1 "$OURS/debootstrap.log") (all of it: $OURS/debootstrap.log)"
  rm -rf "$ROOT.partial/var/cache/apt/archives"
  printf '%s' "$PACKAGES" >"$ROOT.partial/.packages"
  mv "$ROOT.partial" "$ROOT"
}

# What git knows or would take, as it lies here now. What earlier commands made stays: the environment and the cached pipeline run of the tests.
copy_tree() {
  mkdir -p "$COPY"
  find "$COPY" -mindepth 1 -maxdepth 1 ! -name .venv ! -name .uv ! -name .pytest_cache -exec rm -rf {} +
  git ls-files --cached --others --exclude-standard -z | while IFS= read -r -d '' file; do if [ -e "$file" ]; then printf '%s\0' "$file"; fi; done |
    tar --create --null --files-from=- | tar --extract --directory "$COPY"
}

# The rest runs inside the namespaces. The cache is mounted as a whole, so that uv links from its own cache to .venv and copies nothing.
enter() {
  local certificates shared
  certificates="${SSL_CERT_FILE:-${PIP_CERT:-/etc/ssl/certs/ca-certificates.crt}}"
  shared="${MEDIMG_SHARED:-../shared}"
  mkdir -p "$ROOT/cache" "$ROOT/shared"
  mount -t proc proc "$ROOT/proc"
  mount --rbind /dev "$ROOT/dev"
  mount -t tmpfs tmpfs "$ROOT/run"
  mount --bind "$CACHE" "$ROOT/cache"
  mount --bind "$(readlink -f /etc/resolv.conf)" "$ROOT/etc/resolv.conf"
  if [ -f "$certificates" ]; then mount --bind "$certificates" "$ROOT/etc/ssl/certs/ca-certificates.crt"; fi
  if [ -d "$shared" ]; then mount --bind -o ro "$shared" "$ROOT/shared"; fi
  mapfile -t passed < <(env | grep -E "$PASSED")
  # Not exec: this shell is the first process of the namespace, and takes care of orphans.
  chroot "$ROOT" /usr/bin/env -i "${passed[@]}" HOME=/root PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin LANG=C.UTF-8 TERM="${TERM:-dumb}" \
    UV_CACHE_DIR=/cache/uv PIP_CACHE_DIR=/cache/pip SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt REQUESTS_CA_BUNDLE=/etc/ssl/certs/ca-certificates.crt \
    PIP_CERT=/etc/ssl/certs/ca-certificates.crt MEDIMG_SHARED=/shared \
    /bin/sh -c 'cd /cache/medimg/trixie-tree && exec "$@"' sh "$@"
}

main() {
  [ $# -gt 0 ] || stop "no command; for example: setup/trixie.sh make test"
  check_machine
  mkdir -p "$OURS"
  # One at a time: another one's copy would change under its tests.
  exec 9>"$OURS/trixie.lock"
  flock --nonblock 9 || { say "another command uses the trixie root; waiting"; flock 9; }
  make_root
  copy_tree
  rm -rf "${ROOT:?}"/tmp/*
  export -f enter
  export CACHE ROOT PASSED
  # unshare itself ignores a polite end; with it killed, the kernel ends all in the namespaces.
  unshare --mount --propagation private --pid --fork --kill-child -- bash -euo pipefail -c 'enter "$@"' bash "$@" <&0 &
  trap 'kill -KILL $!' INT TERM HUP
  wait $!
}

main "$@"
