"""Finding, downloading and checking published weights; small networks stand for the real ones."""

import hashlib
import multiprocessing
import os
from urllib.error import URLError

import pytest
import torch
from torch import nn
from torch_fidelity import feature_extractor_clip, feature_extractor_dinov2

from inkwash.data.images import Images
from inkwash.errors import UserError
from inkwash.metrics.extractors.clip import CLIPFeatures
from inkwash.metrics.extractors.dinov2 import DINOv2Features, VisionTransformer
from inkwash.metrics.extractors.inception import InceptionFeatures
from inkwash.metrics.extractors.weights import Published, find_weights

pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit:FutureWarning")


def random_images(n, shape, seed=0):
    draws = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (n, *shape), dtype=torch.uint8, generator=draws)
    return Images(images, torch.full((n,), -1))


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def scattered(shape, i):
    """Numbers in [-1, 1) that anyone can make again."""
    x = 4e4 * torch.sin(torch.arange(torch.Size(shape).numel(), dtype=torch.float64) * 12.9898 + 78.233 * i)
    return (2 * (x - x.floor()) - 1).reshape(shape).float()


def dinov2_weights(width=64, depth=2, patch=14, grid=37):
    shapes = {
        "cls_token": (1, 1, width), "pos_embed": (1, 1 + grid**2, width), "mask_token": (1, width),
        "patch_embed.proj.weight": (width, 3, patch, patch), "patch_embed.proj.bias": (width,),
    }  # fmt: skip
    for i in range(depth):
        for name, shape in {
            "norm1.weight": (width,), "norm1.bias": (width,), "attn.qkv.weight": (3 * width, width),
            "attn.qkv.bias": (3 * width,), "attn.proj.weight": (width, width), "attn.proj.bias": (width,),
            "ls1.gamma": (width,), "norm2.weight": (width,), "norm2.bias": (width,),
            "mlp.fc1.weight": (4 * width, width), "mlp.fc1.bias": (4 * width,),
            "mlp.fc2.weight": (width, 4 * width), "mlp.fc2.bias": (width,), "ls2.gamma": (width,),
        }.items():  # fmt: skip
            shapes[f"blocks.{i}.{name}"] = shape
    shapes |= {"norm.weight": (width,), "norm.bias": (width,)}
    return {
        name: 0.2 * scattered(shape, i) + name.endswith(("gamma", "norm.weight"))
        for i, (name, shape) in enumerate(shapes.items())
    }


@pytest.fixture(scope="module")
def dinov2_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("dinov2") / "dinov2.pth"
    torch.save(dinov2_weights(), path)
    return path


class SmallCLIP(nn.Module):
    """OpenAI's file: a TorchScript archive of a whole CLIP, here with 2 layers of width 64."""

    def __init__(self):
        super().__init__()
        self.visual = feature_extractor_clip.VisionTransformer(16, 8, 64, 2, 1, 24)
        self.text_projection = nn.Parameter(torch.zeros(8, 24))
        self.logit_scale = nn.Parameter(torch.zeros(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


@pytest.fixture(scope="module")
def clip_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("clip") / "clip.pt"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = SmallCLIP()
    for i, parameter in enumerate(model.parameters()):
        parameter.data = 0.3 * scattered(parameter.shape, i)
    traced = torch.jit.trace(model, torch.zeros(1), check_trace=False)
    torch.jit.save(traced, path)
    return path


def prepared(cls, path=None, digest=None, shape=(3, 20, 24)):
    extractor, images = cls(None if path is None else str(path), digest), random_images(1, shape)
    state = torch.get_rng_state()
    extractor.prepare(images, images)
    assert torch.equal(state, torch.get_rng_state())
    return extractor


def test_dinov2_is_torch_fidelitys(dinov2_file, monkeypatch):
    images = random_images(3, (3, 20, 24), seed=1).images
    network = VisionTransformer(torch.load(dinov2_file), 224)
    monkeypatch.setattr(torch.hub, "load", lambda repository, name: network)
    fidelity = feature_extractor_dinov2.FeatureExtractorDinoV2("dinov2-vit-l-14", ["dinov2"])
    extractor = prepared(DINOv2Features, dinov2_file, sha256(dinov2_file))
    features = extractor(images)
    assert features.shape == (3, extractor.dim) == (3, 64)
    torch.testing.assert_close(features, fidelity(images)[0], rtol=0, atol=0)
    assert features.std(dim=0).mean() > 1e-3  # they depend on the image
    grey = random_images(2, (1, 20, 24)).images
    torch.testing.assert_close(extractor(grey), extractor(grey.repeat(1, 3, 1, 1)))


def test_dinov2s_network_is_the_authors():
    """Numbers that the authors' own code gave for these weights and this image."""
    network = VisionTransformer(dinov2_weights(), 224).eval()
    with torch.no_grad():
        features = network(scattered((1, 3, 224, 224), 0.5))[0]
    expected = torch.tensor([0.03076, -1.255376, -1.358613, -0.474438, -0.414445, -0.024219, -0.186165, 0.85845])
    torch.testing.assert_close(features[::8], expected, rtol=1e-4, atol=1e-5)


def test_clip_is_torch_fidelitys(clip_file):
    images = random_images(3, (3, 20, 24), seed=1).images
    fidelity = feature_extractor_clip.FeatureExtractorCLIP("clip-vit-b-32", ["clip"], str(clip_file))
    extractor = prepared(CLIPFeatures, clip_file, sha256(clip_file))
    features = extractor(images)
    assert features.shape == (3, extractor.dim) == (3, 24)
    torch.testing.assert_close(features, fidelity(images)[0], rtol=0, atol=0)
    assert features.std(dim=0).mean() > 1e-3
    assert extractor.class_scores(features) is None


ALL = [InceptionFeatures, DINOv2Features, CLIPFeatures]


@pytest.fixture
def hub(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    return tmp_path / "hub" / "checkpoints"


@pytest.mark.parametrize("cls", ALL)
def test_offline_says_what_to_do(cls, hub, monkeypatch):
    def offline(*args, **kwargs):
        raise URLError("Name or service not known")

    monkeypatch.setattr("torch.hub.urlopen", offline)
    with pytest.raises(UserError) as error:
        prepared(cls)
    published = cls.published
    for part in (published.title, published.url, str(hub / published.filename), "extractor.weights_path"):
        assert part in str(error.value)
    assert "extractor=classifier" in str(error.value)


@pytest.fixture
def served(tmp_path, dinov2_file, monkeypatch):
    """A file that torch hub downloads in place of the published one."""
    source = tmp_path / "server" / "dinov2.pth"
    source.parent.mkdir()
    os.link(dinov2_file, source)
    published = Published("DINOv2", source.as_uri(), sha256(dinov2_file), "dinov2-here.pth")
    monkeypatch.setattr(DINOv2Features, "published", published)
    return source


def test_a_download_is_checked_stored_and_named(hub, served):
    assert prepared(DINOv2Features).label == "dinov2"
    served.unlink()  # gone from the server
    assert prepared(DINOv2Features).label == "dinov2"


def test_a_damaged_download_is_refused_and_deleted(hub, served):
    served.unlink()
    served.write_text("<html>502</html>")
    with pytest.raises(UserError, match="invalid hash"):
        prepared(DINOv2Features)
    assert [path.suffix for path in hub.iterdir() if path.suffix != ".lock"] == []


def test_a_file_that_was_damaged_in_the_cache_is_refused(hub, served):
    prepared(DINOv2Features)
    with open(hub / "dinov2-here.pth", "ab") as file:
        file.write(b"0")
    with pytest.raises(UserError, match="dinov2-here.pth is not the published file .* or delete it"):
        prepared(DINOv2Features)


def download(published, folder, start, results):
    os.environ["TORCH_HOME"] = folder
    torch.hub.set_dir(f"{folder}/hub")
    original = torch.hub.download_url_to_file
    calls = []
    torch.hub.download_url_to_file = lambda *args, **kwargs: calls.append(1) or original(*args, **kwargs)
    start.wait()
    path, digest = find_weights(published)
    results.put((len(calls), str(path), digest))


def test_one_process_of_a_machine_downloads(served, tmp_path):
    context = multiprocessing.get_context("fork")
    start, results = context.Barrier(3), context.Queue()
    ranks = [
        context.Process(target=download, args=(DINOv2Features.published, str(tmp_path), start, results))
        for _ in range(3)
    ]
    for rank in ranks:
        rank.start()
    calls, paths, digests = zip(*(results.get(timeout=60) for _ in ranks), strict=True)
    for rank in ranks:
        rank.join()
    assert sorted(calls) == [0, 0, 1]
    assert len(set(paths)) == 1
    assert set(digests) == {DINOv2Features.published.sha256}


@pytest.mark.parametrize("cls", ALL)
def test_another_file_is_refused_unless_its_hash_is_given(cls, clip_file):
    digest = sha256(clip_file)
    with pytest.raises(UserError) as error:
        prepared(cls, clip_file)
    for part in (str(clip_file), cls.published.title, cls.published.sha256[:12], f"extractor.weights_hash={digest}"):
        assert part in str(error.value)
    for wrong in ("00000000", digest[:7], ""):
        with pytest.raises(UserError, match=f"extractor.weights_hash={wrong}, but the sha256 of .* is {digest}"):
            prepared(cls, clip_file, wrong)


def test_a_hash_of_some_digits_is_enough_and_names_the_metric(clip_file):
    digest = sha256(clip_file)
    assert prepared(CLIPFeatures, clip_file, digest[:8]).label == f"clip_{digest[:4]}"


def test_a_hash_that_was_read_as_a_number(tmp_path):
    for i in range(200):
        path = tmp_path / str(i)
        path.write_text(str(i))
        if (digest := sha256(path)[:8]).isdigit() and digest[0] != "0":
            break
    assert find_weights(InceptionFeatures.published, str(path), int(digest))[1].startswith(digest)


class Payload:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (self.marker,)


@pytest.mark.parametrize("cls", ALL)
def test_files_that_are_not_its_weights_are_refused(cls, tmp_path):
    torch.save({"conv.weight": torch.zeros(1)}, tmp_path / "other.pth")
    torch.save(Payload(str(tmp_path / "marker")), tmp_path / "code.pth")
    (tmp_path / "text.pth").write_text("<html>404</html>")
    for name in ("other.pth", "code.pth", "text.pth"):
        with pytest.raises(UserError, match=f"{name} holds no weights of {cls.published.title}"):
            prepared(cls, tmp_path / name, sha256(tmp_path / name))
    with pytest.raises(UserError, match="missing.pth cannot be read"):
        prepared(cls, tmp_path / "missing.pth")
    assert not (tmp_path / "marker").exists()


def test_a_relative_of_dinov2_that_would_lose_weights_is_refused(tmp_path):
    torch.save(dinov2_weights() | {"register_tokens": torch.zeros(1, 4, 64)}, tmp_path / "registers.pth")
    with pytest.raises(UserError, match="registers.pth holds no weights of DINOv2"):
        prepared(DINOv2Features, tmp_path / "registers.pth", sha256(tmp_path / "registers.pth"))


@pytest.mark.parametrize("cls", ALL)
def test_four_channels_are_refused(cls):
    with pytest.raises(UserError, match="1 or 3 channels, not 4: use extractor=classifier"):
        prepared(cls, shape=(4, 16, 16))
