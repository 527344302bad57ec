"""The work that every node does alike: losses, methods, privacy, statistics, and the guard that it is the same."""
