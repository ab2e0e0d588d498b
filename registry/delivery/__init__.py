"""HOW A CODE REACHES A PERSON. Nothing here keeps a code, or learns where it goes."""
