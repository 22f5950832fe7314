"""Entry points: one per DVC stage, and the Prefect flow that walks the DVC graph. The only room that knows Hydra."""

import os

# Nothing about a run leaves this machine unasked; Prefect and MLflow both look here before they are imported.
os.environ.setdefault("DO_NOT_TRACK", "1")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
# Threads that wait for each other sleep instead of spinning: on a machine that does something else too, spinning
# makes torch several times slower. Read once, when torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
