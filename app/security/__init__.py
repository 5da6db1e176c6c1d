"""The door: who may ask for what, and from where."""
