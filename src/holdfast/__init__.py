"""Holdfast: adapt vision-language models to new work without losing what they know."""
