# shellcheck shell=bash
# Sourced by the other scripts here: defines say, stop and find_uv. The working directory is the repository root.

# Where Python is told to keep nothing that it compiled (many images are), each process would compile what it imports anew, of TFX for 40 s.
if [ -n "${PYTHONDONTWRITEBYTECODE:-}" ]; then export UV_COMPILE_BYTECODE=1; fi

say() { printf 'setup: %s\n' "$*" >&2; }
stop() { say "$*"; exit 1; }

# uv reads no pip configuration. Whoever told pip about a certificate or a mirror means uv as well.
follow_pip() {
  if [ -n "${PIP_CERT:-}" ] && [ -z "${SSL_CERT_FILE:-}" ]; then export SSL_CERT_FILE="$PIP_CERT"; fi
  if [ -n "${PIP_INDEX_URL:-}" ] && [ -z "${UV_DEFAULT_INDEX:-}${UV_INDEX_URL:-}" ]; then export UV_DEFAULT_INDEX="$PIP_INDEX_URL"; fi
}

# A private uv in .uv: by a virtual environment, or where Debian's python3 has none (package python3-venv) by pip alone.
install_uv() {
  local python
  for python in python3 /usr/bin/python3 python; do
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 8))' >/dev/null 2>&1 || continue
    rm -rf .uv
    say "installing uv into .uv"
    if "$python" -c 'import ensurepip' >/dev/null 2>&1; then
      "$python" -m venv .uv >&2 && .uv/bin/python -m pip install --quiet --disable-pip-version-check uv >&2 && return
    fi
    if "$python" -m pip --version >/dev/null 2>&1; then
      "$python" -m pip install --quiet --disable-pip-version-check --target .uv uv >&2 && return
    fi
  done
  stop "no uv, and no python3 that can install it. Install uv (docs.astral.sh/uv) or, on Debian and Ubuntu: apt-get install python3-venv"
}

# Sets UV to a uv that runs. That a uv is on the PATH is not enough: pyenv's shim of one that belongs to another Python exists and ends with 127.
find_uv() {
  follow_pip
  UV=uv
  if "$UV" --version >/dev/null 2>&1; then return; fi
  UV="$PWD/.uv/bin/uv"
  if "$UV" --version >/dev/null 2>&1; then return; fi
  install_uv
  "$UV" --version >/dev/null 2>&1 || stop "the uv just installed in .uv does not run"
}
