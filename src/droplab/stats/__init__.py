"""Statistics: arrays in, numbers out; nothing else computes an interval."""
