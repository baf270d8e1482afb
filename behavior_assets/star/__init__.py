"""Silver becomes the dimensions and facts of the star schema."""
