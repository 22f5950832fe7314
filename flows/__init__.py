"""Entry points: one per DVC stage, and the Prefect flow that walks the DVC graph. The only room that knows Hydra."""

import os

# Nothing about a run leaves this machine unasked; Prefect and MLflow both look here before they are imported.
os.environ.setdefault("DO_NOT_TRACK", "1")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
# Threads that wait for each other spin for a moment and then sleep: spinning on, as is the default, makes torch many
# times slower on a machine that does something else too. Read once, when torch is imported.
os.environ.setdefault("GOMP_SPINCOUNT", "20000")
