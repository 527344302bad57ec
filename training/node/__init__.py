"""What runs at a hospital's node: the training plan, its steps, the privacy budget, the node's commands."""
