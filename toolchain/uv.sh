#!/bin/sh
# Provides uv, which provides everything that is Python.
#   --where    prints where uv is or will be
#   --install  installs it there if it is missing
#   --version  prints the version it installs
set -eu
version=0.13.9
cache=${LVS_DR_LAB_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/lvs-dr-lab}
own=$cache/uv-$version

if command -v uv >/dev/null 2>&1; then
    where=$(command -v uv)
else
    where=$own/bin/uv
fi

case ${1:-} in
--where)
    echo "$where"
    ;;
--version)
    echo "$version"
    ;;
--install)
    [ -x "$where" ] && exit 0
    echo "lab installing uv $version: a few seconds" >&2
    if ! python3 -c 'import venv, ensurepip' >/dev/null 2>&1; then
        if ! command -v apt-get >/dev/null 2>&1; then
            echo "error Python's venv module is missing." >&2
            echo "    Install Python 3 with venv, or uv, by your system's means; then run this again." >&2
            exit 1
        fi
        sudo=
        [ "$(id -u)" -eq 0 ] || sudo=sudo
        echo "lab installing the package python3-venv" >&2
        $sudo apt-get update -qq
        $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends python3-venv >/dev/null
    fi
    mkdir -p "$cache"
    rm -rf "$own.new"
    python3 -m venv "$own.new"
    "$own.new/bin/pip" install --quiet "uv==$version"
    # A virtual environment cannot be moved, but uv in it is a plain program.
    mkdir -p "$own/bin"
    cp "$own.new/bin/uv" "$own/bin/uv.new"
    mv "$own/bin/uv.new" "$own/bin/uv"
    rm -rf "$own.new"
    ;;
*)
    echo "usage: uv.sh --where | --install | --version" >&2
    exit 2
    ;;
esac
