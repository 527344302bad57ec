"""The connection to the database and the base of its tables."""
