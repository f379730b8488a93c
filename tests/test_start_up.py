"""Commands do not load what they have no use for, where that takes longer than their work."""

import subprocess
import sys

WITHOUT_PYTORCH = (
    "cdsp.dataset.prepare",
    "cdsp.distance_maps.compute",
    "cdsp.pseudo_labels.corruption",
    "cdsp.pseudo_labels.from_evidence",
    "cdsp.pseudo_labels.import_pngs",
    "cdsp.pseudo_labels.pixel_classifier",
    "cdsp.pseudo_labels.quality",
    "cdsp.reporting.figures.training",
    "cdsp.reporting.summary",
    "cdsp.reporting.tables",
    "cdsp.scribbles.import_annotations",
    "cdsp.scribbles.scribble_labels",
    "cdsp.tools.check",
    "cdsp.tools.explain",
    "cdsp.tools.preview",
)


def test_what_needs_no_pytorch_loads_none():
    script = f"import sys, {', '.join(WITHOUT_PYTORCH)}\nassert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True)


def test_planning_loads_neither_scipy_nor_pytorchs_compiler():
    script = (
        "import sys, cdsp.tools.plan\nfrom cdsp.training import runtime\n"
        "runtime.prepare(1, 'cpu')\n"
        "assert not {'scipy', 'skimage', 'torch._dynamo', 'torch._inductor'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
