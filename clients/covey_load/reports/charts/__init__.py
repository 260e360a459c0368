"""The charts of the page, one file each."""
