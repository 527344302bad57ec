"""The web server: routes, guards of requests, deployment."""
