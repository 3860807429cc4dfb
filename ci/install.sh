#!/bin/sh
# Install packages into .venv under the pinned versions, and leave a stamp: ci/install.sh STAMP PIP-ARGUMENTS...
set -u
stamp=$1
shift

if [ ! -x .venv/bin/python ]; then
    python=$(ci/python.sh) || exit 1
    if ! "$python" -m venv .venv; then
        echo "error: $python cannot make a virtual environment in .venv (above is why; on Debian: apt install python3-venv)." >&2
        exit 1
    fi
fi

echo "Installing into .venv (several minutes the first time): $*"
if ! .venv/bin/python -m pip install --quiet --disable-pip-version-check -c ci/constraints.txt "$@" >.venv/install.log 2>&1; then
    tail -n 5 .venv/install.log >&2
    echo "error: the packages could not be installed; .venv/install.log has everything pip said." \
        "A missing network, a full disk or a missing compiler are the usual reasons; then run the same command again." >&2
    exit 1
fi
touch "$stamp"
