"""The rules: a folder for each family, a file for each rule, with its metadata, its documentation and its fix."""
