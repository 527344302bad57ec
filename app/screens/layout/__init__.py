"""What every screen shares: frame, language, tables, sign-in, style."""
