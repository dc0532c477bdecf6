"""The files that models are kept in, one file of code for each format. Nothing that is read is ever run."""
