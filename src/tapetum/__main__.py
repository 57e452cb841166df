"""``python -m tapetum`` is ``tapetum``."""

from tapetum.cli import main

if __name__ == "__main__":
    main()
