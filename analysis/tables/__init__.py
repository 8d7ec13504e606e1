"""From the store to pandas DataFrames."""
