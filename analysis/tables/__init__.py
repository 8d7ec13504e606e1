"""Conversion of a store's contents to pandas DataFrames."""
