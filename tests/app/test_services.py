from __future__ import annotations

from app.services import open_services, pages_use, services
from fedpet.core.settings import Settings


def test_opening_services_does_not_hand_them_to_the_pages(tmp_path):
    first, second = (open_services(Settings(home=tmp_path / name)) for name in ("first", "second"))
    with pages_use(first):
        assert services() is first
        with pages_use(second):
            assert services() is second
        assert services() is first


def test_without_a_server_the_pages_open_the_services_in_force_once(tmp_path, monkeypatch):
    monkeypatch.setenv("FEDPET_HOME", str(tmp_path))
    with pages_use(None):
        assert services() is services()
        assert services().settings.home == tmp_path
