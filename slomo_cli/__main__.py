"""``python -m slomo_cli`` is the ``slomo`` command."""

from slomo_cli.cli.main import main

if __name__ == "__main__":
    main()
