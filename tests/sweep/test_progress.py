"""A fit that is silent for long is told once, by what is long for its sweep."""

from dgfnet.sweep.progress import SILENT, Heard


def test_a_silent_fit_is_told_once_and_again_after_it_spoke():
    heard = Heard()
    for trial in ("a", "b"):
        heard.note(trial, 0.0)
    heard.note("a", 5.0)
    assert heard.silent(["a", "b"], SILENT) == []
    assert heard.silent(["a", "b"], SILENT + 1) == [SILENT + 1]  # b alone
    assert heard.silent(["a", "b"], SILENT + 2) == []
    heard.note("b", SILENT + 3)
    # that pause is the longest now, and ten times as much is allowed
    assert heard.silent(["b"], SILENT + 3 + 10 * (SILENT + 3)) == []
    assert heard.silent(["b"], SILENT + 4 + 10 * (SILENT + 3)) == [1 + 10 * (SILENT + 3)]


def test_long_epochs_are_no_silence():
    heard = Heard()
    heard.note("a", 0.0)
    heard.note("a", 300.0)
    assert heard.silent(["a"], 300 + 2999) == []
    assert heard.silent(["a"], 300 + 3001) == [3001]
