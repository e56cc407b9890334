"""What engines do with a checkpoint: outcomes by version, skip-list matchers, target matching, parallel sizes."""
