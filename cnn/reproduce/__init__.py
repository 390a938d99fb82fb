"""The runs behind the claims ledger: the list of experiments, their training, what is kept."""
