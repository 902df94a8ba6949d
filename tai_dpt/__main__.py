"""``python -m tai_dpt`` is ``tai-dpt``."""

from tai_dpt.io.module_alias import hide_checkout

hide_checkout()

from tai_dpt.cli.main import main  # noqa: E402

if __name__ == "__main__":
    main()
