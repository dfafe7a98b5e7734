"""Training: data, losses, checkpoints and the loop. Never imported by inference."""
