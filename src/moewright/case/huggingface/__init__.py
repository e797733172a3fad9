"""A Hugging Face config.json read as a model."""
