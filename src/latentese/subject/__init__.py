"""The model that is explained: its shape, where it can be read, and its activations."""
