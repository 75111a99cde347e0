"""Neural network building blocks: scans, mixers, experts, pooling, losses."""
