"""The pages of the application. Each draws one thing; what they share is in `frame` and `speech`."""
