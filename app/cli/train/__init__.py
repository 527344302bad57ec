"""`fedpet train`: the federation, its nodes, and what happens while it trains."""
