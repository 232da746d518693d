"""How a command ends."""

import pytest


@pytest.fixture
def ends(monkeypatch):
    """ends(main, *arguments): the sentence that a command ends with."""

    def run(main, *arguments):
        monkeypatch.setattr("sys.argv", ["inkwash", *arguments])
        with pytest.raises(SystemExit) as end:
            main()
        assert isinstance(end.value.code, str)
        assert "\n" not in end.value.code
        assert len(end.value.code) < 500
        return end.value.code

    return run
