"""The forest plot of a card: every interval lies where its numbers say."""

from inference.bundle.model_card import card_markdown, forest_plot


def row(label, ratio, lower, upper):
    return {
        "label": label,
        "for": "yes against no",
        "hazard_ratio": ratio,
        "lower": lower,
        "upper": upper,
        "p_proportional": 0.2,
    }


def test_intervals_lie_on_one_logarithmic_axis():
    lines = forest_plot([row("worse", 2.0, 1.0, 4.0), row("better", 0.5, 0.25, 0.9), row("none", 1.0, 0.8, 1.25)])
    drawn = [line.split("`")[1] for line in lines[2:]]
    assert "0.25 to 4.00" in lines[0]
    assert {len(one) for one in drawn} == {31}
    centre = 15
    assert [one.index("●") - centre for one in drawn] == [7, -7, 0]
    assert drawn[0].rindex("─") == 30
    assert drawn[1].index("─") == 0
    assert drawn[0][centre] == "┼"
    assert drawn[1][centre] == "│"


def test_the_card_shows_it_as_a_table():
    card = {"name": "m", "risk_model": {"ridge": 30.0, "hazard_ratios": [row("Age", 1.2, 1.1, 1.3)]}}
    text = card_markdown(card)
    assert "Ridge: 30" in text
    assert "| Age | yes against no | 1.20 | 1.10 to 1.30 |" in text
    assert "| 0.2 |" in text
    assert forest_plot([]) == []
