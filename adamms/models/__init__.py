"""Native implementations of architectures that transformers lacks: one subpackage for each family."""
