"""HOW A CODE REACHES A PERSON. Nothing here keeps a code; where it goes is known while it goes."""
