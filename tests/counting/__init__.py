"""The attacker who counts patients, against ourselves and against existing systems: worlds, oracles, gate."""
