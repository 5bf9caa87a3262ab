"""``python -m coilbench`` is the command ``coilbench``."""

from coilbench.cli import main

if __name__ == "__main__":
    main()
