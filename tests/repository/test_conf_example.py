from pathlib import Path

import pytest

from vicisync.settings.files import read_dids
from vicisync.settings.settings import SETTINGS, Setting, load_settings

EXAMPLE = Path(__file__).parents[2] / "conf.example"


@pytest.fixture(autouse=True)
def _empty_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Keep the machine's own files out."""
    monkeypatch.setattr("vicisync.settings.settings.ASTGUICLIENT_CONF", tmp_path / "astguiclient.conf")
    monkeypatch.setattr("vicisync.settings.settings.DIDS_CONF", tmp_path / "dids.conf")


def test_the_example_changes_nothing_but_the_key() -> None:
    assert load_settings(None, None, {"API_KEY": "any"}) == load_settings(None, EXAMPLE, {"API_KEY": "any"})


@pytest.mark.parametrize("setting", [pytest.param(setting, id=setting.name) for setting in SETTINGS])
def test_the_example_shows_every_setting_with_its_default(setting: Setting) -> None:
    file = read_dids(EXAMPLE)
    section = file.general if setting.section == "general" else file.vicisync
    assert section[setting.key].value == ("your_api_key_here" if setting.name == "api_key" else setting.default)


def test_the_example_shows_nothing_that_is_no_setting() -> None:
    file = read_dids(EXAMPLE)
    assert {*file.general, *file.vicisync} == {setting.key for setting in SETTINGS}


def test_the_overrides_that_the_example_proposes_are_valid(tmp_path: Path) -> None:
    uncommented = tmp_path / "dids.conf"
    before, header, proposals = EXAMPLE.read_text(encoding="utf-8").partition("[dispositions]")
    lines = [line[1:] if line[:1] == "#" and "=" in line else line for line in proposals.splitlines()]
    uncommented.write_text(before + header + "\n".join(lines), encoding="utf-8")
    assert load_settings(None, uncommented, {"API_KEY": "k"}).dispositions == {
        "A": "dropped",
        "B": "busy",
        "CALLBK": "answered",
    }
