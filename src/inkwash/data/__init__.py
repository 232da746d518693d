"""Images for training and evaluation: where they come from, how they are split, and in which order they are seen.

Images are uint8 (C, H, W) everywhere inside; x = levels / 127.5 - 1 in [-1, 1] is made on the device, just before the
network (images.to_float). A `Source` gives two splits, `train` and `heldout`, each an `ImageSplit` (inkwash/images.py):
images, labels, a fingerprint and an order. Held-out images are never trained on. Which ones they are depends on the
source's arguments alone, not on the seed of the training, so that runs with different seeds compare.

The order is a function of (seed, epoch), not the state of a shuffler. Write the permutations of epochs 0, 1, 2, ... one
after the other: optimizer step s takes positions [s B, (s + 1) B) of that sequence, B being the global batch size, and
each rank a fixed part of them (batches.py). So a resumed run needs only its step, and any number of ranks sees the same
global batches. `flip` doubles the set by its mirror images instead of tossing coins.

Two kinds of sources:

- In a cache: digits.py and torchvision_sets.py bring arrays; folder.py and parquet.py find encoded images (encoded.py),
  which decoded.py decodes once (decode.py) into a memory-mapped file. The ranks of a machine share its pages.
- Streamed: parquet_stream.py and webdataset.py read blocks of shards when it is their turn and decode them each time,
  for sets that fit neither in memory nor, decoded, on the disk. streamed.py makes an index of the shards once
  (shards.py); stream.py mixes the images of a window of blocks.

hf.py reads what Hugging Face has by either of the two.

What a set is: splits.py tells folders and files of splits by their names, else heldout_draw.py draws the held-out part
by class; labels.py numbers the classes and keeps their names, label_columns.py those in a column of a table; listing.py
walks through folders; listed.py takes labels from a file that lists the images (dataset_json.py, metadata_file.py). A
source notes what it found as `Facts` (facts.py) beside its images, and report.py makes the report that a training logs
and `inkwash data` prints, with what looks like a mistake (suspicions.py). Before torch is imported, the command finds a
shape by some images' headers (peek.py) and the number of classes by `labels` of a source; nothing that these import may
import torch.

Formats: opening.py opens images with Pillow (png.py steps around large metadata), rendering.py scales levels and lays
transparent images on a background; columns.py knows the columns of Parquet files, arrays.py the images in them that
are no files, parquet_files.py reads them, and Arrow files as if they were Parquet files (arrow_files.py); tar.py knows
the members of tar files, tar_labels.py their labels; archive.py has zip files in place of folders; paths.py finds
shards by folders, globs and braces. reading.py tries again what a disk or network could not read: only damage in a file
is corruption.

Caches are named by a hash of all that their content depends on: names, sizes and times of the files, the shape, the
options, and DECODER, which changes with decode.py. Deleting one only costs the time to make it again. caches.py makes
them once for all processes and users; a cache that is filled may be read-only.

on_gpu.py keeps a small set in the GPU's memory. readers.py is about the processes that read ahead: how a split gets to
them, and how batches come back. files.py reads the images that a user names for editing. module.py is the
LightningDataModule around any source; open images.py first, then batches.py.

A new source is one class with `load(split, shape, path) -> ImageSplit` and a YAML in conf/data/. With
`finds_labels = True` and `labels(path)` it takes num_classes=auto. For encoded images derive from `EncodedSource`
(encoded.py) and write `find`; for shards derive from `StreamedSource` (streamed.py) and write `options`, `scan` and
`shards`.
"""
