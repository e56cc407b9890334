"""What happens when things go wrong while bytes move: full disks, vanishing sources, signals."""
