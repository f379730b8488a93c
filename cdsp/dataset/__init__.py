"""Stage `dataset`: one verified data set in VOC layout, described by its `dataset.json`.

JPEGImages/<id>.jpg                         photographs
SegmentationClassAug/<id>.png               masks: 0 = background, 1..K-1, 255 = void
ImageSets/SegmentationAug/{train,val}.txt   lists of ids
"""
