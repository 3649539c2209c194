"""``calve`` and ``python -m calve``, which is also what ``torchrun -m calve train ...`` starts."""

from __future__ import annotations

import sys

_INTERRUPTED = 130


def main() -> None:
    """Run the command line; Ctrl-C ends it in one line even while modules are imported."""
    try:
        from calve.cli.application import main as run_command_line
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        sys.exit(_INTERRUPTED)
    run_command_line()


if __name__ == "__main__":
    main()
