"""What a sweep still has to train, what it costs, and how that is explained."""
