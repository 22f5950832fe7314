"""Run the subject on texts, with the dictionary at the target's hookpoint, and tell what units do."""
