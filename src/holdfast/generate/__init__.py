"""Prompts -> images, each with its prompt, seed, generator revision and hash in a manifest."""

from holdfast.generate.images import Estimate, estimate, generate_images
from holdfast.generate.manifest import Manifest, Record, read_manifest

__all__ = ["Estimate", "Manifest", "Record", "estimate", "generate_images", "read_manifest"]
