"""Write down in words what a unit responds to, from its examples on `explain` documents."""
