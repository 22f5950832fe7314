"""Patterns that need no language model, shared by explainers, simulators and evaluation."""
