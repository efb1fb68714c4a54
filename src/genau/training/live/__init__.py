"""Training of large backbones: pictures are looked at while they are trained on, in 1 to N processes."""
