"""What a training step takes: backward work, schedules, optimizer, memory over time."""
