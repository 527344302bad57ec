"""From a finished training to a bundle: export, calibration, held-out evaluation, model card."""
