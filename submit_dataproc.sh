#!/usr/bin/env bash
# Run a job on Dataproc: submit_dataproc.sh --config JOB.yaml [--new] [--dry-run] [OPTIONS] [-- GCLOUD FLAGS]
# (--help names the options). The same job, arguments and --date are the same batch: where one is pending, running or
# has succeeded, this attaches to it.
set -euo pipefail

usage() {
  cat <<'TEXT'
It needs:
  gcloud      logged in (gcloud auth login), with the Dataproc API enabled in the project
  python      3.11 or later with ee_spark installed: .venv/bin/python here, or PYTHON=/path/to/python
  --project   the Cloud project          (or EE_SPARK_PROJECT, else gcloud's own)
  --region    e.g. us-central1           (or EE_SPARK_REGION, else gcloud's dataproc/region)
  --staging   gs://BUCKET/PATH           (or EE_SPARK_STAGING) for what is shipped
and the dependencies, one of:
  --image     a container image          (or EE_SPARK_IMAGE), built from ./Dockerfile: what production should use
  --archive   a .tar.gz of packages, here or on gs://; without --image and --archive one is built for Python
              $RUNTIME_PYTHON (3.12) from requirements.lock: 140 MB, good for a first try
TEXT
}

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
python="${PYTHON:-$here/.venv/bin/python}"

refuse() {
  echo "submit_dataproc.sh: $1" >&2
  exit 2
}

# Which of our options were given, before the -- that begins gcloud's own flags.
given() {
  local word="$1" argument
  shift
  for argument in "$@"; do
    [ "$argument" = -- ] && return 1
    case "$argument" in "$word" | "$word"=*) return 0 ;; esac
  done
  return 1
}

[ -x "$python" ] || refuse "no Python at $python; run 'make quickstart' once, or set PYTHON"
if [ $# -eq 0 ] || given --help "$@" || given -h "$@"; then
  usage
  exec "$python" -m ee_spark.submit --help
fi
command -v gcloud >/dev/null || refuse "no gcloud on PATH; install the Google Cloud SDK and run 'gcloud auth login'"
given --config "$@" || refuse "--config JOB.yaml is missing"

# gcloud's own settings fill in what was not said.
if ! given --project "$@" && [ -z "${EE_SPARK_PROJECT:-}" ]; then
  EE_SPARK_PROJECT="$(gcloud config get-value core/project 2>/dev/null)" || true
  [ -n "$EE_SPARK_PROJECT" ] || refuse "no project; give --project, or run 'gcloud config set project PROJECT'"
  export EE_SPARK_PROJECT
fi
if ! given --region "$@" && [ -z "${EE_SPARK_REGION:-}" ]; then
  EE_SPARK_REGION="$(gcloud config get-value dataproc/region 2>/dev/null)" || true
  [ -n "$EE_SPARK_REGION" ] || refuse "no region; give --region, or run 'gcloud config set dataproc/region REGION'"
  export EE_SPARK_REGION
fi
given --staging "$@" || [ -n "${EE_SPARK_STAGING:-}" ] || refuse "no staging folder; give --staging gs://BUCKET/PATH"

ours=()
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT

if ! given --package "$@"; then
  "$here/package.sh" "$work/ee_spark.zip" || exit 2
  ours+=(--package "$work/ee_spark.zip")
fi
given --main "$@" || ours+=(--main "$here/jobs/dataproc.py")

# For the runtime's Python, not this machine's.
if ! given --image "$@" && [ -z "${EE_SPARK_IMAGE:-}" ] && ! given --archive "$@"; then
  RUNTIME_PYTHON="${RUNTIME_PYTHON:-3.12}" "$here/package.sh" "$work/dependencies.tar.gz" || exit 2
  ours+=(--archive "$work/dependencies.tar.gz")
fi

"$python" -m ee_spark.submit "${ours[@]+"${ours[@]}"}" "$@"
