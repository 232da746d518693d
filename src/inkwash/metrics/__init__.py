"""Metrics of generated images.

Almost every metric of image quality compares two clouds of points. A feature extractor phi (extractors/) maps a uint8
image to a vector in R^d; generated images give features x_1 ... x_M, real ones y_1 ... y_N. The metrics differ in what
they ask of the two clouds:

- frechet.py: the Frechet distance of two Gaussians with the clouds' means and covariances (Heusel et al. 2017, eq. 6),

      d^2 = ||mu_x - mu_y||^2 + tr(C_x + C_y - 2 (C_x C_y)^(1/2)).

  With the features of Inception it is the FID. It falls as the number of images grows, so only distances of equally
  many images compare; frechet_infinity.py extrapolates to infinitely many (Chong & Forsyth 2020) and
  frechet_interval.py gives its bootstrap interval, both by frechet_reweighted.py.
- kernel.py: the squared maximum mean discrepancy (KID, Binkowski et al. 2018), unbiased for any number of images.
- precision_recall.py (Kynkaanniemi et al. 2019), density_coverage.py (Naeem et al. 2020): do the images lie where real
  ones lie (fidelity), and does every real one have generated ones near it (variety)?
- memorisation.py: are images closer to training images than new real images are?
- inception_score.py, accuracy.py: need no real images, but the classes that the extractor knows.

Which of the metrics have a meaning for a data set, and what they have to load, is found before (choice.py). Then one
pass feeds all of them: suite.py extracts the features of each batch once and hands them to every metric that uses
this extractor. A metric keeps sums (moments.py: n, sum x, sum x x^T in float64) or, if no sum can give its value, the
features by image index (per_image.py). Sums are added up over ranks and rows are sorted by index. So the values do not
depend on the number of ranks, on batch sizes, or on which rank saw which image, but for the last digits of float64
sums in another order; all ranks take the values of rank 0.

In training, with DDP too, the FID is computed here: training/callbacks/evaluation.py generates each rank's images and
calls `Suite.update` (suite.py); `FrechetDistance` (frechet.py) inherits its sums from `FeatureSums` (moments.py), whose
states torchmetrics adds up over the ranks in `compute`. Features that are stored by index are gathered by
`per_image.gather`. `inkwash evaluate` does the same in jobs/evaluate.py.

The real images' features and moments are computed once for a data set and an extractor and cached (reference.py,
cache.py), or read from the .npz file of pytorch-fid or EDM (npz.py). The floor is the distance between as many real
training images and the reference: what a perfect model would score.

A value's name says its protocol (record.py): fid_10k is the FID of 10,000 images, and nothing but torch-fidelity's
Inception with its published weights is called that; fd_classifier_1350 and kid_dinov2_50k name extractor and number of
images. The record beside it (metrics.jsonl) has the rest: reference split, weights, sampler, steps, guidance, and
whether less is better.

A new metric is one class and one YAML in conf/metrics/: derive from `Measure` (base.py) if it keeps sums, from
`FeatureMetric` (per_image.py) if it needs all features at once; set `keys` and `lower_is_better`; write `update` and
`compute`, or `score`. Nothing else knows the metric's name: best checkpoint, early stopping, tables and sweeps go by
`lower_is_better`. Start with density_coverage.py, a whole metric on one page; then base.py and suite.py.
"""
