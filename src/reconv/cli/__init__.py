"""The command line: a file a subcommand; nothing imports this room."""
