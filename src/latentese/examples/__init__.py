"""Choose each unit's examples from a stream of contexts, for all units at once."""
