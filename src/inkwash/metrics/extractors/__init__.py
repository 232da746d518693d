"""Feature extractors: networks that map an image to the vector that metrics compare.

Distances between pixels say little about what a picture shows. The activations phi(x) in R^d of a network that was
trained to recognise images say more, and two sets of images are compared by the distributions of their features. The
choice of phi decides what a distance sees, so its name and the hash of its weights are part of every result:

- inception.py: 2048 pooled features of InceptionV3 as torch-fidelity runs it. A Frechet distance in these is the FID.
- dinov2.py (Oquab et al. 2023; recommended by Stein et al. 2023), clip.py (Radford et al. 2021; Kynkaanniemi et al.
  2023): for photographs of scenes that ImageNet's classes do not describe.
- classifier.py: 64 features of a small classifier, trained once on the data set's own labels. It needs no download,
  takes seconds on a CPU at any size, which view.py bounds (progress.py: its log and its state), and works for any
  number of channels and any size from 8 x 8.
- pyramid.py: strength of detail on the levels of Laplacian pyramids, without labels, training or download.
- auto.py, the default: the first of Inception, classifier and pyramid that images, labels and machine allow.
- pixels.py: the pixels themselves, for nearest neighbours.

weights.py finds published weights, downloads them once for a machine and compares their sha256. precision.py keeps
features in full float32 whatever the training has chosen.

A new extractor derives from `FeatureExtractor` (base.py, the file to open first): `name`, `hash`, `dim`,
`preprocessing`, `features(images)`, and `prepare` if it has weights to find. One of torch-fidelity's networks derives
from `PublishedFeatures` and writes `load`. Then a YAML in conf/extractor/ named like its `name`.
"""
