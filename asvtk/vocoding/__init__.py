"""Classic vocoders, and vocoded data: the training spoofs that they make of bona fide speech."""
