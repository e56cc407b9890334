"""The command line: arguments, exit codes and rendering, nothing else."""
