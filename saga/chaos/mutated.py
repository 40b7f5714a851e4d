"""`python -m saga.chaos.mutated MUTANT MODULE …`: a service's own command with a bug planted in it."""

from __future__ import annotations

import runpy
import sys

from saga.chaos.mutants import MUTANTS


def main() -> None:
    """Plant the bug, then run the service's command with what is left of the arguments."""
    mutant, module = sys.argv[1:3]
    MUTANTS[mutant]()
    del sys.argv[1:3]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
