"""`fedpet batch`: many studies with their records, on all cores."""
