"""What narrows a choice: limits of the other phase, and batches between those of a grid."""
