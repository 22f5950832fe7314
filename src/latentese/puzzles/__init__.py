"""Puzzles: units whose explanation is known, so that whoever explains and whoever judges can be judged."""
