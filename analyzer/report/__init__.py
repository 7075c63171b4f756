"""A verdict for people: the page that alerts and dashboards link to, and its summary as a picture.

`page` and `picture` draw, with a library that takes half a second and 50 MB to load: they are imported where a report
is asked for, and not before.
"""
