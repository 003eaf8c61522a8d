"""AdaMMS: map, merge and search multimodal LLMs of different architectures."""
