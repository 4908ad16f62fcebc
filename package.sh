#!/usr/bin/env bash
# What workers need that have no ee_spark: package.sh ee_spark.zip dependencies.tar.gz
#   FILE.zip      the package itself, for --py-files
#   FILE.tar.gz   its dependencies as requirements.lock has them, for --archives: plain packages for the workers' Python
#                 ($RUNTIME_PYTHON, else this machine's), 140 MB
set -euo pipefail

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
python="${PYTHON:-$here/.venv/bin/python}"
cache="${XDG_CACHE_HOME:-$HOME/.cache}/ee_spark"

refuse() {
  echo "package.sh: $1" >&2
  exit 2
}

# A wheel of pure Python is a zip that Python imports from; Spark and Dataproc take .zip.
package() {
  "$python" -m pip wheel --quiet --no-deps --wheel-dir "$work" "$here" >&2 || refuse "the wheel cannot be built"
  wheels=("$work"/ee_spark-*.whl)
  mv "${wheels[0]}" "$1"
}

# Plain packages, not an environment: that would carry a link to this machine's interpreter.
dependencies() {
  runtime="${RUNTIME_PYTHON:-$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')}"
  digest="$(cat "$here/requirements.lock" "$here/package.sh" | "$python" -c 'import hashlib, sys; print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest()[:12])')"
  made="$cache/dependencies-$runtime-$digest.tar.gz"
  if [ ! -f "$made" ]; then
    echo "packing dependencies for Python $runtime: a minute or two, once" >&2
    mkdir -p "$cache"
    "$python" -m pip install --quiet --target "$work/packages" --require-hashes --only-binary :all: --no-compile \
      --python-version "$runtime" --implementation cp --platform manylinux_2_28_x86_64 \
      --platform manylinux_2_27_x86_64 --platform manylinux_2_17_x86_64 --platform manylinux2014_x86_64 \
      --requirement "$here/requirements.lock" >&2 || refuse "the dependencies cannot be installed for Python $runtime"
    # No worker reads these: 140 MB less to unpack.
    rm -rf "$work/packages/googleapiclient/discovery_cache/documents" "$work/packages/pyarrow/include"
    find "$work/packages" -type d -name tests -prune -exec rm -rf {} +
    tar -C "$work/packages" -cf - . | gzip -3 >"$made.$$"
    mv "$made.$$" "$made"
  fi
  cp "$made" "$1"
}

[ $# -gt 0 ] || refuse "no FILE; write package.sh ee_spark.zip dependencies.tar.gz"
[ -x "$python" ] || refuse "no Python at $python; run 'make quickstart' once, or set PYTHON"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
for file in "$@"; do
  case "$file" in
    *.zip) package "$file" ;;
    *.tar.gz) dependencies "$file" ;;
    *) refuse "$file is neither a .zip, for the package, nor a .tar.gz, for its dependencies" ;;
  esac
done
