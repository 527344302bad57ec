"""The page in headless Chromium: in French first, the other language by one click, readable by everybody."""

import pytest
from axe_playwright_python.sync_playwright import Axe

from training.data.site_check.comparison import check_site
from training.data.site_check.page import check_page

pytestmark = pytest.mark.browser


@pytest.mark.parametrize("width", [1280, 768])
def test_the_page_is_accessible_in_both_languages(hospital, browser, tmp_path, width):
    hospital.swap_folders(hospital.rows[0]["patient_id"], hospital.rows[1]["patient_id"])
    hospital.rows[2]["sexe"] = "F" if hospital.rows[2]["sexe"] == "M" else "M"
    hospital.rename("albumine", "albumne")
    path = tmp_path / "check.html"
    path.write_text(check_page(check_site(hospital.dicom, hospital.write(), b"key"), first="fr"), encoding="utf-8")
    page = browser.new_page(viewport={"width": width, "height": 800})
    page.goto(path.as_uri())
    for language, words in (("fr", "À corriger ou à vérifier"), ("en", "To be corrected or looked at")):
        page.locator(f"#show-{language}").check()
        main = page.locator(f"main[lang={language}]")
        assert main.is_visible()
        assert words in main.inner_text()
        assert not page.locator(f"main:not([lang={language}])").is_visible()
        main.locator("summary").click()
        found = Axe().run(page).response["violations"]
        assert [(one["id"], node["target"]) for one in found for node in one["nodes"]] == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.close()
