"""Configuration: policies, profiles, selectors and settings, and the files that they come from."""
