"""From trials to an answer: estimates with their intervals, verdicts, and the sentences that state them."""
