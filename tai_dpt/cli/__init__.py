"""The subcommands of ``tai-dpt``, a file each."""
