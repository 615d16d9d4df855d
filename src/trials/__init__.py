"""Floor 3: what is tried beside pools. Copies for shadows, and the process that sends them; where rollouts
are, and who keeps that."""
