"""The model that learns: batches, log-probabilities, the policy and its optimizer."""
