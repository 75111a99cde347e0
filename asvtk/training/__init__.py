"""Training: from cached features or audio to a trained experiment, and from that to scores."""
