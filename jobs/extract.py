"""Extract pixels: ``spark-submit jobs/extract.py --config JOB.yaml [--set KEY=VALUE]... [--dry-run]``."""

from ee_spark.cli import extract

if __name__ == "__main__":
    extract(prog_name="extract.py")
