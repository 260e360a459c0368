"""/openapi.json: `document` puts it together, `paths` and `schemas` say what is in it."""
