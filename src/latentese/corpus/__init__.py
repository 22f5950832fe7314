"""Texts, and how they become fixed-length contexts that belong to one split each."""
