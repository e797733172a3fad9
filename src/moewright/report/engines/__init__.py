"""Pages on engines: what a command does, what a calibration says."""
