"""The command line: argument parsing and one library call a command."""
