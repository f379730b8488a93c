"""CDSP: scribble-supervised semantic segmentation, from strokes to tables.

The package is laid out by the stages of the workflow, through which data flows one way::

    dataset → scribbles → pseudo_labels → distance_maps → segmentation → evaluation → reporting

Each stage is a package (or module) of that name and a command of that name (``cdsp segmentation``).
Stages exchange files, never objects; what all of them share is in the modules beside them.
"""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("cdsp")
except PackageNotFoundError:  # run from a source tree that was never installed
    __version__ = "0+unknown"
