"""What a training step is: its workload, its number formats, and how it is divided."""
