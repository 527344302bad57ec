import stat
from pathlib import Path

import pytest

from fedpet.errors import SettingsError
from fedpet.settings import Settings, load_settings

ROOT = Path(__file__).parents[1]


def test_every_setting_is_documented():
    page = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    for name, field in Settings.model_fields.items():
        assert f"`{name}`" in page, name
        assert field.description in page, name


def test_environment_overrides_the_file(tmp_path, monkeypatch):
    (tmp_path / "fedpet.toml").write_text('language = "en"\ncentre = "Nice"\n')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FEDPET_LANGUAGE", "fr")
    settings = load_settings()
    assert (settings.language, settings.centre) == ("fr", "Nice")


def test_a_wrong_setting_is_named(tmp_path, monkeypatch):
    (tmp_path / "fedpet.toml").write_text('langage = "en"\n')
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SettingsError, match="langage"):
        load_settings()


def test_pseudonym_key_is_made_once_and_private(tmp_path, monkeypatch):
    monkeypatch.setenv("FEDPET_HOME", str(tmp_path / "home"))
    key = load_settings().pseudonym_key()
    assert len(key) == 32
    assert load_settings().pseudonym_key() == key
    assert stat.S_IMODE((tmp_path / "home" / "pseudonym.key").stat().st_mode) == 0o600
