"""The plan for real on torch.distributed. The only room that imports torch."""
