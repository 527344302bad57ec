"""The pages of the application, one module a page; what they share is in `layout`."""
