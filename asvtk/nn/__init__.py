"""Parts that systems are made of: scans, blocks, experts, pooling, losses."""
