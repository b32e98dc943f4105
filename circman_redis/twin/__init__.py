"""What stands around the state: the parts of a running twin, to be used together or one by one."""
