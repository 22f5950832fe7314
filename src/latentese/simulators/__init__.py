"""Simulators: what a unit would do in a context, judging by its explanation alone."""
