import stat
import subprocess
import sys

import pytest

from fedpet.core.connection_settings import InferenceServerSettings
from fedpet.core.errors import SettingsError
from fedpet.core.messages import translate_message
from fedpet.core.settings import Settings, load_settings, read_or_create_key
from tests.support import ROOT


def test_every_setting_is_documented():
    page = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    for name, field in Settings.model_fields.items():
        assert f"`{name}`" in page, name
        assert field.description in page, name
    page = (ROOT / "docs" / "inference_server.md").read_text(encoding="utf-8")
    for name, field in InferenceServerSettings.model_fields.items():
        assert f"| `{name}` | {field.description}" in page, name


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


def test_a_wrong_address_names_the_option_in_the_readers_language(tmp_path, monkeypatch):
    with pytest.raises(SettingsError) as refused:
        Settings().with_inference_server("http://models.hospital.example:8000")
    told = refused.value.translate(translate_message("fr"))
    assert "--inference-server" in told
    assert "demandent https" in told
    assert "Value error" not in told
    (tmp_path / "fedpet.toml").write_text('[inference_server]\nurl = "ftp://models"\n')
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SettingsError, match="is not valid: url must be http"):
        load_settings()


def test_processes_that_make_the_key_at_once_read_the_same(tmp_path):
    code = "import pathlib, sys\nfrom fedpet.core.settings import read_or_create_key\nsys.stdin.read(1)\n"
    code += "print(read_or_create_key(pathlib.Path(sys.argv[1])).hex())"
    command = [sys.executable, "-c", code, str(tmp_path / "key")]
    started = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT) for _ in range(4)]
    for one in started:
        one.stdin.close()
    keys = {one.stdout.read() for one in started}
    assert [one.wait() for one in started] == [0, 0, 0, 0]
    assert len(keys) == 1
    assert len(keys.pop().strip()) == 64


def test_a_key_that_may_only_be_read_is_enough(tmp_path):
    (tmp_path / "key").write_bytes(b"k" * 32)
    (tmp_path / "key").chmod(0o400)
    assert read_or_create_key(tmp_path / "key") == b"k" * 32


def test_pseudonym_key_is_made_once_and_private(tmp_path, monkeypatch):
    monkeypatch.setenv("FEDPET_HOME", str(tmp_path / "home"))
    key = load_settings().pseudonym_key()
    assert len(key) == 32
    assert load_settings().pseudonym_key() == key
    assert stat.S_IMODE((tmp_path / "home" / "pseudonym.key").stat().st_mode) == 0o600
