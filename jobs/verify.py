"""Verify a dataset: ``spark-submit jobs/verify.py --dataset PATH [--refetch N] [--repair] [--forget RUN_ID]``.

``--refetch`` asks the service that ``--set earth_engine.endpoint=…`` or ``--config JOB.yaml`` names. Exit 0 or 3.
"""

from ee_spark.cli import verify

if __name__ == "__main__":
    verify(prog_name="verify.py")
