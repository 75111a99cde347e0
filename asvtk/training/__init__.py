"""From cached features to a trained experiment, and from that to scores."""
