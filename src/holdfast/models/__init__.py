"""Models: CLIP and its text tower, students, and the classifiers made of them.

open_clip and timm are imported here alone. Weights are safetensors files; nothing is unpickled.
"""
