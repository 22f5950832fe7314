"""Refinement: find where an explanation is wrong, have it revised, keep what is better; with its controls."""
