# The dependencies of ee_spark for Dataproc Serverless, as
# https://cloud.google.com/dataproc-serverless/docs/guides/custom-containers wants them: no Spark and no Java, which the
# service mounts; procps and tini; the user spark with uid and gid 1099 and a home. ee_spark itself is shipped with each
# job, so one image serves many versions.
#
#   docker build --tag REGION-docker.pkg.dev/PROJECT/REPOSITORY/ee-spark:1 .
#   docker push REGION-docker.pkg.dev/PROJECT/REPOSITORY/ee-spark:1
#
# The base is debian:12-slim of 2026-08-24 (bookworm-20260824-slim), by the digest of its index for all platforms, as
# https://github.com/docker-library/repo-info/blob/master/repos/debian/remote/12-slim.md records it. A newer one:
# docker buildx imagetools inspect debian:12-slim.
FROM debian:12-slim@sha256:88200866dfff7ea7f5cbcb6ec7c8a701889efe6fe859fe64d6990e4b07ea4171

ENV DEBIAN_FRONTEND=noninteractive
# libexpat1 is what rasterio's wheel takes from the system; jemalloc gives memory of large blocks back.
RUN apt-get update \
 && apt-get install --yes --no-install-recommends \
      ca-certificates libexpat1 libjemalloc2 procps python3 python3-venv tini \
 && rm -rf /var/lib/apt/lists/*
ENV LD_PRELOAD=/usr/lib/x86_64-linux-gnu/libjemalloc.so.2

RUN groupadd --gid 1099 spark \
 && useradd --uid 1099 --gid 1099 --home-dir /home/spark --create-home spark

# Every file is checked against its hash; nothing is built here.
COPY requirements.lock /opt/ee_spark/requirements.lock
RUN python3 -m venv /opt/ee_spark/venv \
 && /opt/ee_spark/venv/bin/python -m pip install --no-cache-dir --disable-pip-version-check \
      --require-hashes --only-binary :all: --requirement /opt/ee_spark/requirements.lock \
 && /opt/ee_spark/venv/bin/python -c "import ee, numpy, pyarrow, pydantic, rasterio, urllib3, yaml"
ENV PYSPARK_PYTHON=/opt/ee_spark/venv/bin/python
ENV PYSPARK_DRIVER_PYTHON=/opt/ee_spark/venv/bin/python

USER spark
WORKDIR /home/spark
