"""Why: Captum attributions over images and variables, and the gates that say whether to believe them."""
