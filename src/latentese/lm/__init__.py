"""Language models that explain and simulate: protocols, in-process models, the answer cache, scripted answers."""
