"""The machine and the process: what the rooms above ask of them."""
