"""What a run found, for people: metrics, figures, a static web page and a table for the terminal."""
