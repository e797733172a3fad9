"""What each engine makes of its options, by version, each rule with its source."""
