"""Verify a dataset: ``spark-submit jobs/verify.py --dataset PATH [--refetch N] [--repair]``; exit 0 or 3."""

from ee_spark.cli import verify

if __name__ == "__main__":
    verify(prog_name="verify.py")
