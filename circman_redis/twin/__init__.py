"""The parts around the state that make it a running twin; each is used with the others, or alone."""
