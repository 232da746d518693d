import io

from PIL import Image, PngImagePlugin

from inkwash.data.png import without_metadata


def test_chunks_of_text_and_profile_are_left_out(noise):
    info, file = PngImagePlugin.PngInfo(), io.BytesIO()
    info.add_text("a", "b")
    info.add_text("c", "d", zip=True)
    info.add_itxt("e", "f")
    info.add_itxt("XML:com.adobe.xmp", "kept")
    Image.fromarray(pixels := noise(40, 40, 3)).save(file, "PNG", pnginfo=info, icc_profile=bytes(99), dpi=(72, 72))
    small = without_metadata(file.getvalue())
    assert [kind in small for kind in (b"tEXt", b"zTXt", b"iCCP")] == [False] * 3
    assert [kind in small for kind in (b"kept", b"pHYs", b"IDAT", b"IEND")] == [True] * 4
    image = Image.open(io.BytesIO(small))
    assert image.tobytes() == pixels.tobytes()


def test_what_is_cut_short_stays_so(encode, noise):
    png = encode(noise(8, 8, 3))
    for end in range(len(png)):
        assert without_metadata(png[:end]) == png[:end]
