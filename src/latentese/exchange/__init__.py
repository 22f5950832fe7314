"""Files of the 2023 release of neuron explanations, read and written: records of activations, scored explanations."""
