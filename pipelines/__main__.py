"""`python -m pipelines` is `vl3-curate`."""

import sys

from pipelines.cli import main

if __name__ == "__main__":
    sys.exit(main())
