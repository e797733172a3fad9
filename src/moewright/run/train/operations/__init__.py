"""What a rank's layers are made of: operations with gradients of their own, and what these keep."""
