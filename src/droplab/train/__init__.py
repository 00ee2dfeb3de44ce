"""Training: one step, the epochs around it, evaluation, metrics."""
