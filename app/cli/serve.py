"""`fedpet app`: the application in the browser."""

from __future__ import annotations

from typing import Annotated

import typer

from app.cli.console import reported
from fedpet.core.logs import discreet_logs
from fedpet.core.settings import load_settings


def serve_app(
    port: Annotated[int | None, typer.Option(help="Port to listen on; by default the setting port.")] = None,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the page in a browser.")] = True,
) -> None:
    """Start the application and open it in the browser."""
    from app.server.web import serve

    discreet_logs()
    with reported():
        serve(load_settings(), port=port, open_browser=browser)
