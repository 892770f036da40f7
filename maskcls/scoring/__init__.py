"""From stored predictions to scores: macro F1, confusions, and intervals over people."""
