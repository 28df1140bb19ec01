"""What is found out before a training starts: what the network takes, what fits into memory, how long it takes."""
