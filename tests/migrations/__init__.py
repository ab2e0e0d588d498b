"""The schema that migrations make is the schema that the models describe."""
