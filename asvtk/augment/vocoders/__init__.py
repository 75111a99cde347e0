"""The classic vocoders behind :mod:`asvtk.augment.resynthesis`, and the parts that they share."""
