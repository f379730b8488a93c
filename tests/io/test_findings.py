import pytest

from cdsp.io.findings import Findings, Messages


def test_equal_messages_become_one_line_with_the_first_place():
    messages = Messages()
    messages.append("a polygon of 'cat'", "a.json")
    messages.append("nothing is there")
    messages.append("a polygon of 'cat'", "b.json")
    messages.append("a text", "c.json, task 1", times=5)
    assert list(messages) == [
        "a.json and 1 more: a polygon of 'cat'",
        "nothing is there",
        "c.json, task 1 and 4 more: a text",
    ]
    messages.append("nothing is there")
    assert "nothing is there (2 times)" in messages
    assert len(messages) == 3


def test_errors_of_a_block_are_collected_and_others_pass():
    findings = Findings()
    for error in (ValueError("a.json: broken"), OSError("cannot be read")):
        with findings.collected("a.json"):
            raise error
    assert list(findings.problems) == ["a.json: broken", "a.json: cannot be read"]
    assert not findings.hints
    with pytest.raises(KeyError), findings.collected("a.json"):
        raise KeyError
