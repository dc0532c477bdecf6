"""The file formats of other libraries for byte-pair encodings, one module for each format."""
