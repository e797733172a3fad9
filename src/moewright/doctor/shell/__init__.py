"""Shell scripts, as far as they tell which programs are started with which words: nothing is run."""
