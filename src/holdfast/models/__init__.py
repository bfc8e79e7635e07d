"""Models: CLIP and its text tower, students, and the classifiers made of them.

open_clip and timm are imported here and, for its own training, in `pocket`. Weights are safetensors
files; nothing is unpickled.
"""
