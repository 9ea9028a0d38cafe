"""The agent: what is wanted, what follows from it, what was seen, and who asks, put together in one process."""
