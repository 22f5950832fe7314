"""Pure functions of numbers: correlations, intervals, score tables. No tensors, no models."""
