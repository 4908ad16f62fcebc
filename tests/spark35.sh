#!/bin/sh
# The tests that touch Spark, on Spark 3.5: a second environment beside .venv, as the one Spark line excludes the other.
#   tests/spark35.sh [pytest arguments]
set -eu
cd "$(dirname "$0")/.."
venv=.venv-spark35
if [ ! -e "$venv/.made" ] || [ pyproject.toml -nt "$venv/.made" ]; then
    "${PYTHON:-python3}" -m venv "$venv"
    "$venv/bin/python" -m pip install --quiet --editable '.[local,test]' 'pyspark==3.5.*'
    touch "$venv/.made"
fi
if [ "$#" -eq 0 ]; then
    set -- tests/test_readers.py tests/test_verify.py tests/test_records.py tests/test_quickstart.py
fi
exec "$venv/bin/python" -m pytest "$@"
