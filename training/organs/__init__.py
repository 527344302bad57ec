"""A network that segments organs on PET/CT, trained on simulated bodies that vary."""
