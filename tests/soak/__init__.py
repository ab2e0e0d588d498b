"""The long campaigns: what `make test` samples, many times over, taken up again where it was interrupted."""
