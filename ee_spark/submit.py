"""``python -m ee_spark.submit``, the old name of what ``submit_dataproc.sh`` runs."""

from ee_spark.dataproc.submit import main

__all__ = ["main"]

if __name__ == "__main__":
    main()
