"""Native implementations of architectures that transformers lacks; one subpackage per family."""
