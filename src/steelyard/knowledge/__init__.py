"""What can be looked up for an input. Imports nothing: the reading child starts with every run."""
