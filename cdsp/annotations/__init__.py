"""Readers of the files in which people's strokes, boxes and tags come, one module for each format.

Every reader turns its format into `cdsp.annotations.annotation`: plain shapes with names for
classes, pixel centres at integers. Readers know nothing of data sets;
`cdsp.scribbles.import_annotations` does.
"""
