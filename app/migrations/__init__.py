"""Alembic environment of the application's tables; applied when the application starts."""
