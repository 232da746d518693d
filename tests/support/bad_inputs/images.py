"""Bad image files and folders of them."""

import io
import os
import pickle
import socket
import struct
import zlib
from functools import partial

import numpy as np
from PIL import Image

from support.bad_inputs.case import QUICK, Case


def encoded(kind, size=(8, 8), mode="RGB", **options):
    pixels = np.random.default_rng(0).integers(0, 256, (*size[::-1], 4), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels, "RGBA").convert(mode).save(file, kind, **options)
    return file.getvalue()


def png(width, height, data=b"", crc=None):
    """A PNG whose header says what it likes."""

    def chunk(name, content):
        check = zlib.crc32(name + content) if crc is None else crc
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", check)

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")


def flat(mode, value, kind="TIFF"):
    file = io.BytesIO()
    Image.new(mode, (8, 8), value).save(file, kind)
    return file.getvalue()


def half(kind):
    whole = encoded(kind, (32, 32))
    return whole[: len(whole) // 2]


# Ghostscript would run it.
EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n(mark) (w) file closefile\nshowpage\n"
IMAGES = {
    "empty.png": b"", "text.png": b"hello", "html.jpg": b"<html><body>404</body></html>", "zeros.png": bytes(5000),
    "signature.png": b"\x89PNG\r\n\x1a\n", "wide.png": png(2**31 - 1, 1), "bomb.png": png(60000, 60000, bytes(10**6)),
    "large.png": png(14000, 14000, bytes(10**6)), "none.png": png(0, 0), "short.png": png(8, 8, b"x"),
    "checksum.png": png(8, 8, bytes(200), crc=5), "half.png": half("PNG"), "half.jpg": half("JPEG"),
    "half.gif": half("GIF"), "half.tiff": half("TIFF"), "half.bmp": half("BMP"), "script.eps": EPS,
    "half.webp": half("WEBP"), "half.avif": half("AVIF"), "vector.svg": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    "zip.png": b"PK\x05\x06" + bytes(18),
    "glass.png": encoded("PNG", mode="RGBA"), "nan.tiff": flat("F", float("nan")), "huge.tiff": flat("F", 1e30),
    "negative.tiff": flat("I", -5), "deep.tiff": flat("I", 2**20), "pickle.png": pickle.dumps([1]),
    "eps.png": b"%!PS-Adobe-3.0 EPSF-3.0\n",
    "script.png": b"#!/bin/sh\ntouch mark\n", "xpm.png": b"/* XPM */",
}  # fmt: skip
PNG = encoded("PNG")
COLOUR = {"colour.png": encoded("PNG")}


def folder(files):
    def make(work):
        for i in range(4):
            (work / "images").mkdir(exist_ok=True)
            (work / "images" / f"good{i}.png").write_bytes(encoded("PNG"))
        for name, content in files.items():
            (work / "images" / name).write_bytes(content)

    return make


# What a folder may hold that makes no set of images; the first word of the name stands in the sentence.
LAYOUTS: dict[str, dict[str, bytes]] = {
    "dataset.json without labels": {"a/0.png": PNG, "a/1.png": PNG, "dataset.json": b"{}"},
    "dataset.json cut short": {"a/0.png": PNG, "a/1.png": PNG, "dataset.json": b'{"labels": [["a/0'},
    "dataset.json of numbers": {"a/0.png": PNG, "a/1.png": PNG, "dataset.json": b'{"labels": [1, 2]}'},
    "dataset.json with a half": {"a/0.png": PNG, "a/1.png": PNG, "dataset.json": b'{"labels": [["a/0.png", 0.5]]}'},
    "dataset.json with words": {"a/0.png": PNG, "a/1.png": PNG, "dataset.json": b'{"labels": [["a/0.png", "cat"]]}'},
    "dataset.json below zero": {"a/0.png": PNG, "a/1.png": PNG, "dataset.json": b'{"labels": [["a/0.png", -3]]}'},
    "data.source.splits=none two of one": {"train/a/0.png": PNG, "val/a/0.png": PNG, "valid/a/0.png": PNG},
    "data.source.splits=none and more": {"train/a/0.png": PNG, "test/a/0.png": PNG, "more/a/0.png": PNG},
    "no images": {"train/notes.txt": b"x", "test/a/0.png": PNG},
    "data.num_classes of three": {f"{c}/{i}.png": PNG for c in "abc" for i in range(4)},
    "data.num_classes of none": {f"{i}.png": PNG for i in range(4)},
    "holds nothing but text": {"a/0.txt": b"x", "b/1.txt": b"x"},
}


def laid(files, work):
    for name, content in files.items():
        path = work / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def put(files, work):
    (work / "shards").mkdir()
    for name, content in files.items():
        (work / name).write_bytes(content)


def special(work, name, how):
    folder({})(work)
    path = work / "images" / name
    if how == "fifo":
        os.mkfifo(path)
    elif how == "socket":
        with socket.socket(socket.AF_UNIX) as found:
            found.bind(os.path.relpath(path))
    else:
        path.symlink_to(how)


def images():
    data = (*QUICK, "data=folder", "data.path=images", "data.shape=[3,8,8]", "data.source.cache_dir=runs/cache",
        "data.source.heldout_fraction=0.4",
    )  # fmt: skip
    for name, content in IMAGES.items():
        if name in ("script.eps", "vector.svg"):  # passed over and counted beside images
            continue
        yield Case(f"images/{name}", "train", data, name, folder({name: content}))
    one = (*data, "data.shape=[1,8,8]")
    yield Case("images/colour.png", "train", one, "png", folder(COLOUR))
    yield Case("images/no text", "train", data, "broken.png", folder({os.fsdecode(b"\xffbroken.png"): b"x"}))
    odd = (*data, "data.source.resize=false")
    yield Case("images/odd.png", "train", odd, "odd.png", folder({"odd.png": encoded("PNG", (9, 8))}))
    for name, how in (
        ("pipe.png", "fifo"),
        ("zero.png", "/dev/zero"),
        ("gone.png", "nowhere"),
        ("random.png", "/dev/urandom"),
    ):
        yield Case(f"images/{name}", "train", data, name, lambda work, n=name, h=how: special(work, n, h))
    for name, arguments, says in (
        ("nowhere", (*data, "data.path=nowhere"), "data.path"), ("file", (*data, "data.path=/etc/passwd"), "data.path"),
        ("device", (*data, "data.path=/dev/null"), "data.path"), ("none", (*data, "data.path=null"), "data.path"),
        ("number", (*data, "data.path=5"), "data.path"), ("channels", (*data, "data.shape=[2,8,8]"), "2"),
        ("five", (*data, "data.shape=[5,8,8]"), "5"), ("classes", (*data, "data.num_classes=3"), "data.num_classes"),
        ("enormous", (*data, "data.shape=[3,1000000,1000000]"), "decoded images"),
        ("fraction", (*data, "data.source.heldout_fraction=1"), "heldout_fraction"),
        ("negative", (*data, "data.source.heldout_fraction=-1"), "heldout_fraction"),
        ("splits", (*data, "data.source.splits=yes"), "data.source.splits"),
        ("order", (*data, "data.source.class_order=random"), "class_order"),
        ("heldout", (*data, "data.source.heldout_path=nowhere"), "heldout_path"),
        ("same", (*data, "data.source.heldout_path=images"), "heldout_path"),
        ("no shape", (*data, "data.shape=???"), "data.shape=[3,8,8]"),
        ("cache", (*data, "data.source.cache_dir=/proc/nope"), "cache_dir"),
        ("cache file", (*data, "data.source.cache_dir=/etc/passwd"), "cache_dir"),
    ):  # fmt: skip
        yield Case(f"images/{name}", "train", arguments, says, folder({}))
    yield Case("images/nothing", "train", data, "data.path", lambda work: (work / "images").mkdir())
    for name, files in LAYOUTS.items():
        yield Case(f"images/{name}", "train", (*data, "data.num_classes=2"), name.split()[0], partial(laid, files))
    skip = (*data, "data.source.skip_corrupt=true")
    yield Case("images/none readable", "train", skip, "data.path", lambda work: (
        (work / "images").mkdir(), [(work / "images" / f"{i}.png").write_bytes(b"x") for i in range(20)]))  # fmt: skip
