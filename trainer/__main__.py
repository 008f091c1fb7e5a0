"""Entry point of `python -m trainer`, which vl3-train is too."""

from typing import NoReturn

from trainer.cli import main
from trainer.process import end_with


def command() -> NoReturn:
    """Run the command line and end the process."""
    end_with(main)


if __name__ == "__main__":
    command()
