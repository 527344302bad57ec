"""The clinical-biological record, endpoints and published scores. Plain data and arithmetic."""
