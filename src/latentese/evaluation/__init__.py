"""What a dictionary is worth, without explanations."""
