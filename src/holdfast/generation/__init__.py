"""Prompts -> images, each with its prompt, seed, generator revision and hash in a manifest."""

from holdfast.generation.cost import Estimate, estimate
from holdfast.generation.images import generate_images
from holdfast.generation.manifest import GeneratedImage, Manifest, read_manifest

__all__ = ["Estimate", "GeneratedImage", "Manifest", "estimate", "generate_images", "read_manifest"]
