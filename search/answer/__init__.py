"""From trials to an answer: numbers with their intervals, verdicts, and the sentences that tell them."""
