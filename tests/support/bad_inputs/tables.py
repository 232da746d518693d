"""Bad Parquet files, and tar and zip files."""

import io
import tarfile
from functools import partial

import pyarrow as pa
import pyarrow.parquet as pq

from support.bad_inputs.case import QUICK, Case
from support.bad_inputs.checkpoints import archive
from support.bad_inputs.images import encoded, put

GOOD = [encoded("PNG") for _ in range(20)]


def table(images=GOOD, labels=None, column="image", **more):
    columns = {column: [{"bytes": image, "path": None} for image in images]}
    if labels is not None:
        columns["label"] = labels
    return pa.table(columns | more)


def parquet_bytes(found):
    file = io.BytesIO()
    pq.write_table(found, file)
    return file.getvalue()


def spoilt(content, places):
    found = bytearray(content)
    for place in places:
        found[place] ^= 0xFF
    return bytes(found)


def parquets():
    whole = parquet_bytes(table(labels=[i % 3 for i in range(20)]))
    files = {
        "empty": b"", "text": b"hello", "magic": b"PAR1PAR1", "half": whole[: len(whole) // 2], "tail": whole[-200:],
        "zeros": bytes(1000), "footer": spoilt(whole, range(len(whole) - 40, len(whole) - 8)),
        "pages": spoilt(whole, range(100, 2000)), "length": whole[:-8] + b"\xff\xff\xff\x7fPAR1",
        "lengths": whole[:-8] + b"\x05\x00\x00\x00PAR1",
        "no rows": parquet_bytes(table([], [])) , "no images": parquet_bytes(pa.table({"a": [1, 2], "label": [0, 1]})),
        "two": parquet_bytes(table(labels=[0] * 20, other=[{"bytes": b"x", "path": None}] * 20)),
        "many names": parquet_bytes(table(labels=["a", "b", "c", "d"] * 5)),
        "mask labels": parquet_bytes(table(labels=GOOD)), "several labels": parquet_bytes(table(labels=[[0, 1]] * 20)),
        "addresses": parquet_bytes(pa.table({"image": ["https://x.org/a.png"] * 20, "label": [0] * 20})),
        "two labels": parquet_bytes(table(fine_label=[0] * 20, coarse_label=[1] * 20)),
        "pointer": b"version https://git-lfs.github.com/spec/v1\n", "ragged": parquet_bytes(
        pa.table({"image": [[[1, 2], [3]]] * 20, "label": [0] * 20})), "no labels": parquet_bytes(table()),
        "float labels": parquet_bytes(table(labels=[0.5] * 20)),
        "null labels": parquet_bytes(table(labels=[0] * 19 + [None])),
        "negative": parquet_bytes(table(labels=[-5] * 20)), "large": parquet_bytes(table(labels=[10**15] * 20)),
        "null image": parquet_bytes(table([*GOOD[:-1], None], [0] * 20)), "bytes": parquet_bytes(table([b"x"] * 20,
        [0] * 20)),
        "text image": parquet_bytes(pa.table({"image": ["a"] * 20, "label": [0] * 20})),
        "numbers": parquet_bytes(pa.table({"image": [{"bytes": 5}] * 20, "label": [0] * 20})),
        "path only": parquet_bytes(pa.table({"image": [{"path": "a.png"}] * 20, "label": [0] * 20})),
        "lists": parquet_bytes(pa.table({"image": [[1, 2]] * 20, "label": [0] * 20})),
    }  # fmt: skip
    data = (*QUICK, "data=parquet", "data.shape=[3,8,8]", "data.num_classes=3", "data.source.cache_dir=runs/cache")
    for name, content in files.items():
        arguments = (*data, "data.path=x.parquet")
        yield Case(
            f"parquet/{name}", "train", arguments, "", lambda work, c=content: (work / "x.parquet").write_bytes(c)
        )
    for name, options, says in (
        ("nowhere", ("data.path=nowhere.parquet",), "data.path"), ("glob", ("data.path='*.nope'",), "data.path"),
        ("folder", ("data.path=.",), "data.path"), ("device", ("data.path=/dev/null",), "/dev/null"),
        ("heldout", ("data.path=x.parquet", "data.source.heldout_path=nowhere"), "heldout_path"),
        ("image column", ("data.path=x.parquet", "data.source.image_column=nope"), "image_column"),
        ("label column", ("data.path=x.parquet", "data.source.label_column=nope"), "label_column"),
        ("label is image", ("data.path=x.parquet", "data.source.label_column=image"), "label_column"),
        ("classes", ("data.path=x.parquet", "data.num_classes=2"), "data.num_classes"),
        ("shape", ("data.path=x.parquet", "data.shape=[3,16,16]"), "data.shape"),
        ("fraction", ("data.path=x.parquet", "data.source.heldout_fraction=5"), "heldout_fraction"),
    ):  # fmt: skip
        make = (lambda work: None) if name == "folder" else (lambda work: (work / "x.parquet").write_bytes(whole))
        yield Case(f"parquet/{name}", "train", (*data, *options), says, make)
    mixed = {"a.parquet": whole, "b.parquet": parquet_bytes(pa.table({"other": [1, 2]}))}
    for name, names, says in (
        ("two in one name", ("train-test.parquet", "a.parquet"), "train-test.parquet"),
        ("a third kind", ("train-0.parquet", "extra-0.parquet"), "extra-0.parquet"),
        ("braces", ("a-1.parquet",), "a-0.parquet"),
    ):  # fmt: skip
        place = "data.path='shards/a-{0..3}.parquet'" if name == "braces" else "data.path=shards"
        files = {f"shards/{file}": whole for file in names}
        yield Case(f"parquet/{name}", "train", (*data, place), says, partial(put, files))
    yield Case("parquet/mixed", "train", (*data, "data.path=shards"), "", lambda work: (
        (work / "shards").mkdir(), [(work / "shards" / name).write_bytes(c) for name, c in mixed.items()]))  # fmt: skip


def tar_bytes(files, mode="w"):
    """Files by name; a list of pairs may have a name twice."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode) as packed:
        for name, content in files.items() if isinstance(files, dict) else files:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            packed.addfile(member, io.BytesIO(content))
    return file.getvalue()


def labelled(names="{}.png", labels="{}.cls", value=b"0"):
    return {name: content for i in range(20) for name, content in (
        (names.format(i), GOOD[i]), (labels.format(i), value))}  # fmt: skip


def encrypted(content):
    found = bytearray(content)
    for sign, place in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        found[found.index(sign) + place] |= 1
    return bytes(found)


def archives():
    apart = dict(sorted(labelled().items(), key=lambda item: item[0].endswith("cls")))
    tars = {
        "empty": b"", "half": tar_bytes(labelled())[:9000], "none": tar_bytes({"a.txt": b"x"}),
        "compressed": tar_bytes(labelled(), "w:gz"), "apart": tar_bytes(apart),
        "folders": tar_bytes(labelled("images/{}.png", "labels/{}.cls")), "dots": tar_bytes(labelled("a.{}.png")),
        "twice": tar_bytes([*labelled().items(), ("19.cls", b"1")]), "text": tar_bytes(labelled(value=b"a\nb")),
        "mixed": tar_bytes({**labelled(), "0.cls": b"cat"}), "zip": archive(**{"0.png": GOOD[0]}),
    }  # fmt: skip
    data = (*QUICK, "data=webdataset", "data.path=x.tar", "data.shape=[3,8,8]", "data.num_classes=3",
        "data.source.cache_dir=runs/cache",
    )  # fmt: skip
    for name, content in tars.items():
        make = lambda work, c=content: (work / "x.tar").write_bytes(c)  # noqa: E731
        yield Case(f"archives/{name} tar", "train", data, "x.tar", make)
    zips = {
        "empty": b"", "half": archive(**{f"{i}.png": GOOD[i] for i in range(20)})[:500], "none": archive(a=b"x"),
        "encrypted": encrypted(archive(**{"0.png": GOOD[0]})), "tar": tar_bytes(labelled()),
        "labels": archive(**{"0.png": GOOD[0], "dataset.json": b"[]"}),
    }  # fmt: skip
    zipped = (*QUICK, "data=folder", "data.path=x.zip", "data.shape=[3,8,8]", "data.source.cache_dir=runs/cache")
    for name, content in zips.items():
        make = lambda work, c=content: (work / "x.zip").write_bytes(c)  # noqa: E731
        yield Case(f"archives/{name} zip", "train", zipped, "x.zip", make)
    whole = lambda work: (work / "x.tar").write_bytes(tar_bytes(labelled()))  # noqa: E731
    for options, says in (
        ("data.path='x-{0..2}.tar'", "stands for 3 files"), ("data.path=s3://b/x.tar", "address"),
        ("data.source.white=0", "data.source.white"), ("data.source.black=300", "data.source.black"),
        ("data.source.background=wite", "data.source.background"), ("data.source.label=nope", "label nope"),
        ("data.source.white=4095", "8 bits"), ("data.source.background=[1,2]", "data.source.background"),
        ("data.source.image=webp", "no images"),
    ):  # fmt: skip
        yield Case(f"archives/{options}", "train", (*data, options), says, whole)
