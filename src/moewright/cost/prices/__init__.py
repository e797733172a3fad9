"""Work turned into seconds: by formulas, by a machine's own profile, or by measured tables."""
