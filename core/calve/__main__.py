"""``python -m calve``, which is also what ``torchrun -m calve train ...`` starts."""

from calve.cli import main

if __name__ == "__main__":
    main()
