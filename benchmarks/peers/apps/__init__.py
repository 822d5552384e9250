"""The peers, one module each, in the settings in which each is fastest while it still does its job."""
