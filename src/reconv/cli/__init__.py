"""The command line: one file per subcommand; nothing imports this package."""
