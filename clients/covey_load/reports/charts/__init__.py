"""The pictures of the page, one file each: values in, SVG out."""
