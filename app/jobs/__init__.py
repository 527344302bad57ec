"""Processes beside the server that compute a case or transfer a study."""
