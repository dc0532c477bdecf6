"""What the rooms above need from the machine and the process."""
