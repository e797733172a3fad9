"""quantization_config → the formats of a model's tensors, by module and as shipped."""
