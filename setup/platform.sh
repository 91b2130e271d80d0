# shellcheck shell=bash
# Sourced after uv.sh: the two platforms, and which of them this machine gets. requirements/<platform>.in names what makes each.

PLATFORMS=(py313 py310)  # The newer one first.
NEWER=${PLATFORMS[0]} OLDER=${PLATFORMS[1]}
# ML Metadata 1.21 and TensorFlow Data Validation 1.21 have wheels for this glibc and newer.
NEEDED_GLIBC=2.39

# 3.13 of py313
python_of() {
  local digits="${1#py}"
  printf '%s.%s' "${digits:0:1}" "${digits:1}"
}

check_platform() { [[ " ${PLATFORMS[*]} " == *" $1 "* ]] || stop "there is no platform '$1': expected PLATFORM=$NEWER or PLATFORM=$OLDER"; }

is_at_least() { [ "$(printf '%s\n' "$1" "$2" | sort -V | head -n 1)" = "$1" ]; }

# pyenv's `python3.10` is a shim that depends on the folder; uv is given the interpreter itself.
find_python() {
  local newest
  newest=$(pyenv versions --bare 2>/dev/null | grep -E "^${1//./\\.}\.[0-9]+$" | sort -V | tail -n 1) || true
  if [ -n "$newest" ]; then printf '%s/bin/python' "$(pyenv prefix "$newest")"; else printf '%s' "$1"; fi
}

# True if a Python of this version is here, or uv can download one.
has_python() {
  find_uv
  "$UV" python find --quiet --no-project "$(find_python "$1")" >/dev/null 2>&1 || "$UV" python install --quiet "$1" >/dev/null 2>&1
}

# A virtual environment breaks when its Python goes away or its folder moves: scripts in it hold absolute paths, and a copy would run the original's code.
venv_works() {
  grep -qsF "$PWD/.venv" .venv/bin/activate &&
    .venv/bin/python -c "import sys; sys.exit('%d.%d' % sys.version_info[:2] != '$(python_of "$1")')" 2>/dev/null
}

# Sets PLATFORM and says which in one line. The .venv that works is kept: a Python that turns up later changes nothing under the feet of a project.
choose_platform() {
  local glibc why platform
  glibc=$(getconf GNU_LIBC_VERSION 2>/dev/null | awk '{print $2}') || true
  if [ -n "${PLATFORM:-}" ]; then
    check_platform "$PLATFORM"
    why="as PLATFORM says"
  elif [ -z "$glibc" ] || ! is_at_least "$NEEDED_GLIBC" "$glibc"; then
    PLATFORM=$OLDER why="$NEWER needs glibc $NEEDED_GLIBC or newer, here is ${glibc:-none}"
  else
    for platform in "${PLATFORMS[@]}"; do
      if venv_works "$platform"; then PLATFORM=$platform why="as .venv is; \`make clean\` chooses anew"; break; fi
    done
    if [ -n "${PLATFORM:-}" ]; then :
    elif has_python "$(python_of "$NEWER")"; then PLATFORM=$NEWER why="glibc $glibc"
    else PLATFORM=$OLDER why="no Python $(python_of "$NEWER") here, and uv could not download one"; fi
  fi
  say "platform $PLATFORM: Python $(python_of "$PLATFORM"), TFX $(sed -n 's/^tfx==//p' "requirements/$PLATFORM.in") ($why)"
}
