"""The GPUs of this machine for a command's workers: which there are, who holds them, and how several share one."""
