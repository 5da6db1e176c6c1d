"""How the machine, the data folder and the service are: facts, what they mean, and who is told."""
