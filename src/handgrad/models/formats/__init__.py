"""The file formats of models, one source file for each format. Nothing that is read is ever executed."""
