"""What a case says on paper. Never computes a medical quantity."""
