"""Checkpoints of other libraries: one module per format, each with `read`, and with `write` where we write it."""
