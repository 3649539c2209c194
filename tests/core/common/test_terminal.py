"""Messages on a stderr that takes them, and on one that does not."""

from __future__ import annotations

import subprocess
import sys

import pytest

from calve.common.terminal import print_to_stderr

SCRIPT = """
from calve.common.terminal import print_to_stderr
print_to_stderr("a message")
print("result", flush=True)
"""


def test_a_message_is_one_line_on_stderr(capsys):
    print_to_stderr("a message")
    assert capsys.readouterr() == ("", "a message\n")


@pytest.mark.parametrize("redirection", ["2>&-", "2>/dev/full"])
def test_a_stderr_that_takes_nothing_ends_nothing_and_leaves_stdout_alone(redirection):
    command = f'"$0" -c "$1" {redirection}'
    done = subprocess.run(
        ["bash", "-c", command, sys.executable, SCRIPT], stdout=subprocess.PIPE, text=True
    )
    assert done.stdout == "result\n"
