"""Dictionaries map activations to unit activations and back: learned latents, or the model's own neurons."""
