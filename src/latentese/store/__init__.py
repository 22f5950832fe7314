"""Artifacts on disk: a folder published whole, its manifest last; tables and shards inside it."""
