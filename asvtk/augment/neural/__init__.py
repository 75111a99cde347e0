"""Neural vocoders, trained on the bona fide training speech of the corpus itself.

Nothing is downloaded, and nothing but the training set is heard. A few minutes on a GPU do not make good
vocoders; they make spoofs with the traces that neural waveform models leave, in the training set's own
voices and recordings.
"""
