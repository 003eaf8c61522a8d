"""AdaMMS: map, merge and search multimodal LLMs of different architectures."""

__version__ = "0.6.0"
