"""Jobs on Dataproc: the batch, the gcloud commands that submit it, and the command that does."""
