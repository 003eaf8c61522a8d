"""AdaMMS: map, merge and search multimodal LLMs of different architectures."""

__version__ = "0.7.0"
