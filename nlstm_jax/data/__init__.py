"""Files to arrays, one file a data set, and generated data in the same forms."""
