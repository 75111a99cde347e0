"""Detection metrics: numpy only, no torch, no audio. Higher score = bona fide, everywhere."""
