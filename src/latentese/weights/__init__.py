"""Models as checked local folders, whether they come from a package, a hub or a path."""
