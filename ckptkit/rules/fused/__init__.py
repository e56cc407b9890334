"""CK7: modules that are loaded as one."""
