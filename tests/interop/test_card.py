"""The model card of an export: front matter that the hub's own library reads, and the facts of the run's files."""

import shutil
from pathlib import Path

import pytest
import yaml
from huggingface_hub import ModelCard
from PIL import Image

from inkwash.interop import card
from inkwash.interop.output import Options
from inkwash.run import load_run
from support.runs import TESTS

GOLDEN = TESTS / "golden" / "runs" / "default"


@pytest.fixture
def written(tmp_path):
    """written(weights, **options): the text of the card of a finished run with a grid."""
    run = tmp_path / "golden"
    shutil.copytree(GOLDEN, run)
    (run / "samples").mkdir(exist_ok=True)
    Image.new("RGB", (20, 10)).save(run / "samples" / "step-00000006.png")
    Image.new("RGB", (30, 10)).save(run / "samples" / "step-00000009.png")  # later than the checkpoint

    def write(weights="ema", **options):
        folder = tmp_path / "out"
        folder.mkdir(exist_ok=True)
        about = card.About(load_run(run, weights=weights), run, "diffusers", weights, "last.ckpt")
        card.write(folder, about, Options(**options))
        return (folder / "README.md").read_text()

    return write


def test_the_hub_reads_its_front_matter(written, tmp_path):
    text = written(license="apache-2.0", repo="me/digits-8")
    data = ModelCard(text).data
    assert (data.license, data.library_name, data.pipeline_tag) == (
        "apache-2.0", "diffusers", "unconditional-image-generation",
    )  # fmt: skip
    assert "inkwash" in data.tags
    assert data.model_name == "digits-8"
    results = {result.metric_name: result for result in data.eval_results}
    assert results["fd_classifier_16"].metric_type == "fd_classifier"
    assert results["fd_classifier_16"].metric_value == pytest.approx(86.4606, abs=1e-3)
    assert results["fd_classifier_16"].dataset_name == "digits"
    assert Image.open(tmp_path / "out" / "samples.png").size == (20, 10)


def test_it_tells_recipe_data_and_protocol(written):
    text = written()
    for part in (
        "# golden\n",
        "| steps | 6 of 16 images |",
        "| schedule | cosine |",
        "| prediction | v |",
        "| optimizer | adamw, learning rate ",
        "| weights | ema, averaged over the training |",
        "| fd_classifier_16 | 86.46 | 16.47 |",
        "step 6: 16 images, 450 real ones (heldout); classifier features; Ancestral, 3 steps, guidance 1.0 |",
        "| trained at commit | 0fffde052419e0db3b9e2ea6a8906d9753b907a8 |",
        "| torch | 2.15.0 |",
        "None is given: ask the author before you use the weights.",
        "![Images that the model drew while it was trained](samples.png)",
        'DiffusionPipeline.from_pretrained(".", custom_pipeline=".", trust_remote_code=True)',
    ):
        assert part in text, part
    assert "license" not in yaml.safe_load(text.split("---")[1])


def test_metrics_of_other_weights_are_not_its(written):
    text = written("raw")
    assert "None were measured for these weights." in text
    assert "model-index" not in text
    assert "| weights | as they were trained |" in text


def test_no_path_of_the_machine_is_in_it(written, tmp_path):
    text = written()
    assert str(tmp_path) not in text
    assert str(Path.home()) + "/" not in text
