"""The files of other libraries that hold a byte-pair encoding, one file of code for each format."""
