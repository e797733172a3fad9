"""What users of a serving engine will see: requests, scheduler steps, time to first token and per token."""
