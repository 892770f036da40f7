"""From stored predictions to scores: metrics, confusions, and intervals over groups."""
