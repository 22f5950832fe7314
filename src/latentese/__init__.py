"""latentese: read what goes on inside a language model and write it down in checked English."""

__version__ = "0.1.0"
