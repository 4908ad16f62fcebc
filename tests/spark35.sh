#!/bin/sh
# Spark 3.5, end to end: a job that is killed and resumes, its tables as Spark reads them, verify. It has an environment of
# its own beside .venv, as the one Spark line excludes the other. CI runs it after everything else.
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
    set -- tests/cluster/test_quickstart.py::test_killed_and_run_again \
        tests/cluster/test_quickstart.py::test_every_pixel_is_the_rasters \
        tests/cluster/test_quickstart.py::test_spark_reads_what_spark_wrote \
        tests/cluster/test_readers.py::test_spark_sees_pixels_and_tiles \
        tests/service/test_georeference.py::test_spark_reads_times_before_1900 \
        tests/service/test_verify.py::test_a_whole_dataset_is_clean_and_counted_as_in_its_tables
fi
exec "$venv/bin/python" -m pytest "$@"
