# make quickstart: real satellite pixels through Earth Engine's own protocol into Parquet tables, with Spark.
# make test: everything that CI checks; make unit: what needs no service, in seconds. All install what they need into .venv.
# make audit: known vulnerabilities of requirements.lock; it asks the database of PyPI, or says that it cannot.

PYTHON ?= python3
BIN := .venv/bin
# Spark finds its workers' Python, itself (its own script cannot, below a folder with a space in its name) and a Java that
# fits; the machine's own Java is preferred (see ee_spark/java.py).
HOME_OF_SPARK = $$($(BIN)/python -c 'import pyspark; print(pyspark.__path__[0])')
SPARK := SPARK_HOME="$(HOME_OF_SPARK)" SPARK_LOCAL_IP=127.0.0.1 PYSPARK_PYTHON="$(CURDIR)/$(BIN)/python" JAVA_HOME="$$($(BIN)/python -m ee_spark.java)"
SUBMIT := $(BIN)/spark-submit --master 'local[*]' --properties-file conf/spark/local.conf jobs/extract.py

FAILED := make: installing failed, for the reason above; without a network, or behind a proxy or mirror, tell pip of it \
  (pip config set global.index-url URL), then run make again

.PHONY: quickstart patches test unit chaos wrong-inputs hostile-datasets lint audit clean

quickstart: .venv/.local
	$(SPARK) $(SUBMIT) --config conf/quickstart.yaml
	$(BIN)/ee-spark report --dataset out/quickstart --out out/quickstart.png

patches: .venv/.local
	$(SPARK) $(SUBMIT) --config conf/quickstart_patches.yaml
	$(BIN)/ee-spark report --dataset out/quickstart-patches --out out/quickstart-patches.png

test: lint
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

unit: .venv/.test
	$(BIN)/python -m pytest tests/unit -n 2

# Rounds that went well are in out/chaos.jsonl, and are not played again: remove it to begin anew. ENGINE=spark plays them
# through Spark.
chaos: .venv/.test
	mkdir -p out
	PYTHONPATH=.:tests/support $(SPARK) $(BIN)/python tests/support/chaos.py --seeds $(or $(SEEDS),0:20) \
	  --engine $(or $(ENGINE),processes) --log out/chaos.jsonl

lint: .venv/.test
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/mypy benchmarks

# Thousands of wrong inputs, each a real command: make wrong-inputs COUNT=2000 SEED=7, or CASE=name:seed for one alone.
COUNT ?= 2000
SEED ?= 1
wrong-inputs: .venv/.test
	$(BIN)/python tests/support/wrong_inputs.py $(if $(CASE),--case $(CASE),--count $(COUNT) --seed $(SEED))

# The same for datasets that somebody made up or damaged.
hostile-datasets: .venv/.test
	$(BIN)/python tests/support/hostile_datasets.py $(if $(CASE),--case $(CASE),--count $(COUNT) --seed $(SEED))

# In an environment of its own, so that what is checked stays as it is. --strict: what could not be asked for fails.
audit: .venv/.audit
	@.venv/.audit/bin/python -c 'import socket; socket.create_connection(("pypi.org", 443), 10).close()' 2>/dev/null \
	 || { echo "audit: not done: pypi.org, which has the list of vulnerabilities, cannot be reached" >&2; exit 2; }
	.venv/.audit/bin/pip-audit --requirement requirements.lock --require-hashes --disable-pip --strict --progress-spinner off

.venv/.audit: .venv/.local
	$(PYTHON) -m venv $@
	$@/bin/python -m pip install --quiet 'pip-audit>=2.7,<3'

.venv/.local: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "ee_spark needs Python 3.11 or later: make PYTHON=python3.11")'
	@echo "installing ee_spark, Spark and a Java for it into .venv: a minute or two"
	@new=$$(test -e .venv || echo yes); \
	 { $(PYTHON) -m venv .venv && $(BIN)/python -m pip install --quiet --editable '.[local]' && touch $@; } \
	 || { test -z "$$new" || rm -rf .venv; echo "$(FAILED)" >&2; exit 1; }

.venv/.test: .venv/.local
	@{ $(BIN)/python -m pip install --quiet --editable '.[local,test]' && touch $@; } || { echo "$(FAILED)" >&2; exit 1; }

clean:
	rm -rf .venv out
