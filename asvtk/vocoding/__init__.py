"""The classic vocoders behind :mod:`asvtk.vocoding.vocoders`, and the parts that they share."""
