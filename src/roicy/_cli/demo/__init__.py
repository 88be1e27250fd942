"""``roicy demo``: what the operators make of a photograph, drawn to a folder of pictures."""

from pathlib import Path

from matplotlib import cbook
from matplotlib.image import imread

import roicy
from roicy._cli.bench import describe
from roicy._cli.demo import align, crops, pool, position_sensitive, pyramid, rmac, rotated, text
from roicy._cli.demo.stopwatch import Stopwatch
from roicy._cli.terminal import print_table

PICTURES = align, pyramid, position_sensitive, rotated, pool, rmac, crops
#: What has models of text, of which the last picture is; not small, so the extra `demo` does not bring it.
MODELS = "'rapidocr-onnxruntime>=1.4,<1.5'"


def demo(pictures: Path) -> None:
    """Run the operators on a photo, print what that took and write the pictures to a folder that is there."""
    photo = imread(cbook.get_sample_data("grace_hopper.jpg", asfileobj=False))
    stopwatch, paths = Stopwatch(), []
    for picture in PICTURES:
        paths.append(pictures / f"{picture.__name__.rpartition('.')[2]}.png")
        picture.draw(photo, stopwatch).save(paths[-1])
    try:
        detector, recogniser = text.models()
    except ImportError as error:
        remark = f"picture of text left out: {error}; pip install {MODELS} brings the models"
    else:
        remark = ""
        paths.append(pictures / "text.png")
        text.draw(detector, recogniser, stopwatch).save(paths[-1])
    print_table(
        describe(roicy.get_num_threads()),
        ["call", "features", "result", f">best of {stopwatch.rounds}"],
        stopwatch.rows,
    )
    for path in paths:
        print(f"picture: {path.absolute()}")
    if remark:
        print(remark)
