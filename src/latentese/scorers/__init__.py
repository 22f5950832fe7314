"""Scorers: one judgement per example, never an average."""
