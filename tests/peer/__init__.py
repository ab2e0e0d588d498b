"""A second implementation of the log's formats, by other people: it reads what we write and cosigns it."""
