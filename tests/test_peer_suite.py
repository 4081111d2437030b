"""What the script says of a peer's tests, and the table of two embedding benchmarks."""

import numpy as np
import pytest

from scripts import peer_suite
from scripts.benchmarks import embeddings


def said(error="", reason="", calls=1, skipped=False):
    return dict(error=error, reason=reason, calls=calls, skipped=skipped)


def test_each_verdict():
    adapted = {
        "losses.test_a.TestA.test_agrees": said(),
        "losses.test_a.TestA.test_is_refused": said("UsageError power=0 (f:3)"),
        "losses.test_a.TestA.test_differs": said("AssertionError 1 != 2 (g:4)"),
        "losses.test_a.TestA.test_is_missing": said("X y (h:5)", "the loss X"),
        "losses.test_a.TestA.test_of_others": said(calls=0),
        "losses.test_a.TestA.test_fails_there": said("AssertionError"),
        "losses.test_a.TestA.test_is_slow": said("TooLong it took long (i:6)"),
    }
    plain = {
        test: said() for test, result in adapted.items() if peer_suite.fails(result)
    }
    assert "losses.test_a.TestA.test_is_missing" not in plain
    plain["losses.test_a.TestA.test_fails_there"] = said("AssertionError")
    verdicts = peer_suite.judge(plain, adapted)
    assert [verdict for verdict, _ in verdicts.values()] == [
        "agree",
        "differ",
        "differ",
        "no counterpart",
        *["left out"] * 2,
    ]
    page = peer_suite.format_page(verdicts, "2.9.0")
    assert " ".join(page.split()).count(
        "learning 2.9.0. Do not edit.* Its tests of losses, miners, regularisers and"
    )
    assert "Of 4 test functions" in page and "**1 agree**, **2 differ**" in page
    assert "| TestA: is_refused | differ | refused here: power=0 |" in page
    assert page.endswith("- TestA: of_others\n- TestA: is_slow: it took long\n")


@pytest.mark.slow
def test_a_loss_with_weights_beside_the_input(monkeypatch):
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(8), 6)
    x = 3 * rng.normal(size=(8, 5))[labels] + rng.normal(size=(48, 5))
    monkeypatch.setitem(embeddings.SETS, "made up", lambda: (x, labels, np.arange(4)))
    monkeypatch.setattr(embeddings, "STEPS", 3)
    monkeypatch.setattr(embeddings, "SEEDS", 2)
    rows = embeddings.run_set("made up", ["proxy_anchor"])
    assert list(rows) == ["input", "untrained encoder", "`proxy_anchor`"]
    assert len(rows["`proxy_anchor`"]) == 2
    assert rows["input"][0]["hit_rate@1"] > 0.8
    trained, untrained = (rows[name][0]["map@r"] for name in list(rows)[:0:-1])
    assert trained != untrained and 0 < trained <= 1
    page = embeddings.format_page({"made up": rows})
    assert page.count(" ± ") == 8
