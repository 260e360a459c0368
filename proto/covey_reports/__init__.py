"""How Covey's reports look: one frame for every page, one style for every chart.

Used by covey_export and covey_load, each with templates of its own. Needs jinja2 and matplotlib, which neither the
server nor the SDK has: they must not import it.
"""
