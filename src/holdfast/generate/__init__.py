"""Prompts -> images, each with its prompt, seed, generator revision and hash in a manifest."""
