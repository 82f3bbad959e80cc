#!/usr/bin/env bash
# Installs the locked Python environment into .venv. Usage: setup.sh PYTHON
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

python=${1:-}
if [[ -z $python ]]; then
  echo "penstock: no Python 3.11, 3.12 or 3.13 was found: install one, or name it with make PYTHON=/path/to/python" >&2
  exit 1
fi

# uv installs the lock in seconds and checks every hash; it comes by pip, in a version that the lock names.
uv_version=$(sed -nE 's/^uv==([^ ]+).*/\1/p' requirements.lock)
tools=${PENSTOCK_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/penstock}/uv-$uv_version
if [[ ! -x $tools/bin/uv ]]; then
  echo "setup: fetching uv $uv_version"
  staging=$tools.partial.$$
  rm -rf "$staging"
  if ! "$python" -m venv "$staging"; then
    echo "penstock: $python cannot make a virtual environment: install its venv package (python3-venv on Debian)" >&2
    exit 1
  fi
  "$staging/bin/python" -m pip install --quiet --disable-pip-version-check "uv==$uv_version"
  mv -T "$staging" "$tools" 2>/dev/null || rm -rf "$staging" # another checkout was quicker
fi

echo "setup: installing the Python packages of requirements.lock into .venv"
[[ -x .venv/bin/python ]] || "$tools/bin/uv" venv --quiet --python "$python" .venv
"$tools/bin/uv" pip sync --quiet --require-hashes --python .venv requirements.lock
"$tools/bin/uv" pip install --quiet --no-deps --no-build-isolation --python .venv --editable .
