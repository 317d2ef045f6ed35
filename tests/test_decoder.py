"""The decoder: the pixels of every kind of file, upright, as 8-bit sRGB, or one line that says why not."""

import io
import random
import struct
import sys
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image
from PIL.ExifTags import Base as Tag
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from graft.core.threads import in_order
from graft.images import decoder

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)
# 2 x 3 pixels, all different.
CORNERS = np.array([[RED, GREEN], [BLUE, (9, 9, 9)], [(250, 250, 250), (90, 90, 0)]], np.uint8)


def decoded(data, size=100):
    return np.asarray(decoder.decode(data, size, "picture"))


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".tiff", ".ppm"])
def test_lossless_files_give_their_very_pixels(encode, suffix):
    np.testing.assert_array_equal(decoded(encode(Image.fromarray(CORNERS), suffix)), CORNERS)


@pytest.mark.parametrize(
    ("orientation", "upright"),
    [
        (1, CORNERS),
        (2, CORNERS[:, ::-1]),
        (3, CORNERS[::-1, ::-1]),
        (4, CORNERS[::-1]),
        (5, CORNERS.transpose(1, 0, 2)),
        (6, CORNERS[::-1].transpose(1, 0, 2)),
        (7, CORNERS[::-1, ::-1].transpose(1, 0, 2)),
        (8, CORNERS[:, ::-1].transpose(1, 0, 2)),
    ],
)
def test_an_image_is_turned_upright_by_its_exif_orientation(encode, orientation, upright):
    exif = Image.Exif()
    exif[0x0112] = orientation
    np.testing.assert_array_equal(decoded(encode(Image.fromarray(CORNERS), ".png", exif=exif)), upright)


def test_grey_levels_become_three_equal_channels(encode):
    grey = np.array([[0, 128, 255]], np.uint8)
    np.testing.assert_array_equal(decoded(encode(Image.fromarray(grey), ".png")), np.stack([grey] * 3, axis=-1))


@pytest.mark.parametrize("suffix", [".png", ".tif", ".pgm"])
def test_sixteen_bits_are_scaled_to_eight_and_not_cut_off(encode, suffix):
    grey = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    np.testing.assert_array_equal(decoded(encode(Image.fromarray(grey), suffix))[..., 0], grey // 256)


def grey_tiff(encode, levels, **tags):
    """Return the bytes of a TIFF file of grey levels, an array, with these tags."""
    directory = ImageFileDirectory_v2()
    for name, value in tags.items():
        directory[Tag[name]] = value
    return encode(Image.fromarray(levels), ".tif", tiffinfo=directory)


def test_floats_are_scaled_from_0_and_1(encode):
    levels = np.array([[0, 0.25, 0.5, 1]], np.float32)
    np.testing.assert_array_equal(decoded(grey_tiff(encode, levels))[..., 0], [[0, 64, 128, 255]])


def test_twelve_bits_are_scaled_from_0_and_4095(encode):
    # Pillow reads 12 bits a level and does not write them: the file is made of one with 16.
    data = bytearray(grey_tiff(encode, np.zeros((1, 2), np.uint16)))
    with Image.open(io.BytesIO(data)) as image:
        (pixels,) = image.tag_v2[Tag.StripOffsets]
    bits = data.index(struct.pack("<HHIH", Tag.BitsPerSample, 3, 1, 16))
    data[bits + 8] = 12
    data[pixels : pixels + 3] = b"\x80\x0f\xff"
    np.testing.assert_array_equal(decoded(bytes(data))[..., 0], [[128, 255]])


@pytest.mark.parametrize("tags", [("MinSampleValue", "MaxSampleValue"), ("SMinSampleValue", "SMaxSampleValue")])
@pytest.mark.parametrize("kind", [np.uint16, np.int32, np.float32])
def test_the_range_that_a_file_declares_is_that_of_its_grey_levels(encode, tags, kind):
    levels = np.array([[1000, 2000, 3000, 5000]], kind)
    data = grey_tiff(encode, levels, **dict(zip(tags, (1000, 5000), strict=True)))
    np.testing.assert_array_equal(decoded(data)[..., 0], [[0, 64, 128, 255]])


def test_where_zero_is_white_sixteen_bits_are_turned_round(encode):
    levels = np.array([[0, 32768, 65535]], np.uint16)
    shown = decoded(grey_tiff(encode, levels, PhotometricInterpretation=0))
    np.testing.assert_array_equal(shown[..., 0], [[255, 127, 0]])


@pytest.mark.parametrize("levels", [[0, 2], [-0.1, 1], [0, np.nan], [0, np.inf]])
def test_grey_levels_beyond_the_declared_range_are_refused(encode, levels):
    data = grey_tiff(encode, np.array([levels], np.float32))
    with pytest.raises(decoder.UnreadableImageError, match=r"^x: .*its grey levels go from \S+ to \S+, beyond 0 to 1"):
        decoder.decode(data, 16, "x")


def test_thirty_two_bits_without_a_declared_range_are_refused(encode):
    # Whether 255, 65535 or 2**31 is white, nobody knows.
    data = grey_tiff(encode, np.array([[0, 255]], np.int32))
    with pytest.raises(
        decoder.UnreadableImageError, match=r"\(the range of its 32-bit grey levels is unknown; save it as"
    ):
        decoder.decode(data, 16, "x")


def test_decoding_in_threads_leaves_the_warning_filters_as_they_are(encode):
    data, before = encode(Image.fromarray(CORNERS), ".png"), list(warnings.filters)
    list(in_order(lambda _: decoder.decode(data, 16, "x"), range(2000)))
    assert warnings.filters == before


def test_what_changes_no_pixel_gives_no_warning(encode, run_python, tmp_path):
    broken_exif = b"Exif\0\0II*\0\x08\0\0\0\x05\0"
    (tmp_path / "a.jpg").write_bytes(encode(Image.fromarray(CORNERS), ".jpg", exif=broken_exif))
    # Pillow warns above 89 million pixels.
    (tmp_path / "b.jpg").write_bytes(encode(Image.new("L", (12_000, 10_000)), ".jpg"))
    script = "from pathlib import Path; from graft.images import loader\n"
    script += "for name in ('a.jpg', 'b.jpg'): loader.load(Path(name), 16, 'crop')"
    result = run_python("-W", "error", "-c", script, folder=tmp_path)
    assert (result.returncode, result.stderr) == (0, "")


def test_a_palette_gives_its_colours(encode):
    palette = Image.fromarray(CORNERS).quantize(6)
    np.testing.assert_array_equal(decoded(encode(palette, ".png")), CORNERS)


def test_black_and_white_become_0_and_255(encode):
    picture = Image.fromarray(np.array([[0, 255]], np.uint8)).convert("1")
    np.testing.assert_array_equal(decoded(encode(picture, ".png"))[..., 0], [[0, 255]])


def test_four_inks_become_red_green_and_blue(encode):
    picture = Image.new("CMYK", (8, 8), (0, 255, 255, 0))
    np.testing.assert_allclose(decoded(encode(picture, ".jpg"))[4, 4], RED, atol=3)


def test_transparent_parts_become_white(encode):
    seen = Image.fromarray(np.array([[[10, 20, 30, 0], [10, 20, 30, 255], [0, 0, 0, 51]]], np.uint8))
    np.testing.assert_array_equal(decoded(encode(seen, ".png")), [[[255] * 3, [10, 20, 30], [204] * 3]])


@pytest.mark.parametrize("mode", ["LA", "P"])
def test_grey_levels_and_palettes_have_transparent_parts_too(encode, mode):
    seen = Image.new("RGBA", (2, 1), (0, 0, 0, 0)).convert(mode)
    np.testing.assert_array_equal(decoded(encode(seen, ".png")), np.full((1, 2, 3), 255))


@pytest.mark.parametrize(
    ("suffix", "options"), [(".gif", {}), (".png", {}), (".tiff", {}), (".webp", {"lossless": True})]
)
def test_an_animation_gives_its_first_picture(encode, suffix, options):
    frames = [Image.new("RGB", (2, 2), colour) for colour in (RED, BLUE)]
    data = encode(frames[0], suffix, save_all=True, append_images=frames[1:], **options)
    np.testing.assert_array_equal(decoded(data)[0, 0], RED)


def test_an_animated_avif_gives_its_first_picture(encode):
    frames = [Image.new("RGB", (16, 16), colour) for colour in (RED, BLUE)]
    data = encode(frames[0], ".avif", save_all=True, append_images=frames[1:])
    np.testing.assert_allclose(decoded(data)[8, 8], RED, atol=3)


def test_a_large_jpeg_is_decoded_at_a_fraction_but_never_below_twice_the_size(encode):
    data = encode(Image.new("RGB", (800, 640)), ".jpg")
    assert decoder.decode(data, 100, "").size == (400, 320)
    assert decoder.decode(data, 400, "").size == (800, 640)


@pytest.mark.parametrize("data", [b"", b"<svg></svg>", b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\nxxxx"])
def test_what_is_not_an_image_is_refused_in_one_line_that_names_the_formats(data):
    reason = "Truncated File Read|damaged, or none of JPEG, PNG, GIF, BMP, PPM, TIFF, WEBP, AVIF, HEIC"
    with pytest.raises(decoder.UnreadableImageError, match=rf"^a\.jpg: not a readable image \((?:{reason})\)$"):
        decoder.decode(data, 16, "a.jpg")


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".gif", ".webp", ".bmp", ".tif", ".ppm", ".avif"])
@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_a_truncated_image_is_refused(encode, draw_picture, suffix, share):
    data = encode(draw_picture(GREEN, 1), suffix)
    with pytest.raises(decoder.UnreadableImageError, match=r"^x: not a readable image \([^\n]+\)$"):
        decoder.decode(data[: int(share * len(data))], 16, "x")


@pytest.mark.parametrize("suffix", [".eps", ".dds", ".ico", ".tga", ".jp2"])
def test_the_content_decides_and_other_formats_are_refused(encode, suffix):
    data = encode(Image.new("RGB", (16, 16)), suffix)
    with pytest.raises(decoder.UnreadableImageError, match=r"^photo\.jpg: .*none of JPEG"):
        decoder.decode(data, 16, "photo.jpg")


def test_postscript_starts_no_other_program(encode, monkeypatch):
    monkeypatch.setattr("subprocess.Popen", lambda *_, **__: pytest.fail("a program was started"))
    with pytest.raises(decoder.UnreadableImageError):
        decoder.decode(encode(Image.new("RGB", (16, 16)), ".eps"), 16, "photo.jpg")


def heic_container(brand):
    return struct.pack(">I", 24) + b"ftyp" + brand + bytes(4) + b"mif1" + brand


@pytest.mark.parametrize("brand", [b"heic", b"mif1", b"hevc"])
def test_heic_without_its_package_is_one_line_that_says_how_to_install_it(monkeypatch, brand):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    decoder._reads_heic.cache_clear()
    try:
        with pytest.raises(decoder.UnreadableImageError, match=r"^x: .*\(HEIC needs .*: pip install pillow-heif\)$"):
            decoder.decode(heic_container(brand), 16, "x")
    finally:
        decoder._reads_heic.cache_clear()


def test_heic_is_decoded_where_its_package_is_installed(encode):
    pytest.importorskip("pillow_heif").register_heif_opener()
    picture = Image.new("RGB", (64, 64), RED)
    picture.paste(BLUE, (0, 0, 64, 32))
    np.testing.assert_allclose(decoded(encode(picture, ".heic"))[[8, 56], 8], [BLUE, RED], atol=8)


def test_damaged_heic_is_one_line(encode, draw_picture):
    pytest.importorskip("pillow_heif").register_heif_opener()
    data = encode(draw_picture(GREEN, 1, 64), ".heic")
    for share in (0.1, 0.5, 0.9):
        with pytest.raises(decoder.UnreadableImageError, match=r"^x: not a readable image \([^\n]+\)$"):
            decoder.decode(data[: int(share * len(data))], 16, "x")


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (NotImplementedError("no such codec"), "NotImplementedError: no such codec"),
        (RuntimeError("failed\nin two lines"), "RuntimeError: failed"),
        (IndexError(), "IndexError"),
        (KeyError("mode"), "KeyError: 'mode'"),
        (struct.error("unpack"), "error: unpack"),
        (RecursionError("too deep"), "RecursionError: too deep"),
        (OverflowError("too large"), "OverflowError: too large"),
        (MemoryError(), "not enough memory"),
        (OSError("bad \x1b[31m\0 header"), r"bad \?\[31m\? header"),
        (ValueError("x" * 5000), "x{200}"),
    ],
)
def test_whatever_a_decoder_raises_is_one_printable_line_with_the_file(encode, monkeypatch, error, reason):
    def fail(*_):
        raise error

    data = encode(Image.fromarray(CORNERS), ".png")
    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", fail)
    with pytest.raises(decoder.UnreadableImageError, match=rf"^x: not a readable image \({reason}\)$"):
        decoder.decode(data, 16, "x")


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
def test_a_stop_is_no_damaged_image(encode, monkeypatch, stop):
    def fail(*_):
        raise stop

    data = encode(Image.fromarray(CORNERS), ".png")
    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", fail)
    with pytest.raises(stop):
        decoder.decode(data, 16, "x")


def test_damaged_metadata_make_no_image_unreadable(encode, draw_picture):
    exif = b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + bytes(range(256)) * 4
    picture, rng = draw_picture(GREEN, 1), random.Random(1)
    for suffix in (".jpg", ".png", ".webp"):
        expected = decoded(encode(picture, suffix))
        for _ in range(30):
            damaged = bytes(byte if rng.random() < 0.9 else rng.randrange(256) for byte in exif)
            damaged = exif[:14] + damaged[14:]
            shown = decoded(encode(picture, suffix, exif=damaged))
            assert sorted(shown.ravel()) == sorted(expected.ravel())


def test_an_image_above_the_limit_is_refused_before_its_pixels_are_decoded(encode, monkeypatch):
    data = encode(Image.new("P", (15, 15)), ".png")
    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", lambda _: pytest.fail("it was decoded"))
    with pytest.raises(decoder.UnreadableImageError, match=r"^x: .*\(225 pixels, above the limit of 200: make it sm"):
        decoder.decode(data, 16, "x", max_pixels=200)


def test_without_a_limit_a_larger_image_is_decoded_alone(encode, monkeypatch):
    monkeypatch.setattr(decoder, "PIXELS_AT_ONCE", 200)
    data = encode(Image.new("P", (15, 15)), ".png")
    with ThreadPoolExecutor(4) as threads:
        images = list(threads.map(lambda _: decoder.decode(data, 16, "x", max_pixels=None), range(20)))
    assert {image.size for image in images} == {(15, 15)}


def test_without_a_limit_a_jpeg_of_more_pixels_than_params_yaml_can_allow_is_refused_at_full_size(encode):
    data = encode(Image.new("RGB", (800, 640)), ".jpg")
    place = data.index(b"\xff\xc0") + 5
    # Height and width in the header of the frame.
    data = data[:place] + struct.pack(">HH", 60_000, 60_000) + data[place + 4 :]
    with pytest.raises(decoder.UnreadableImageError, match=r"^x: .*\(3,600,000,000 pixels, above the limit of 1,000,0"):
        decoder.decode(data, 16, "x", scaled=False, max_pixels=None)


def test_a_jpeg_counts_as_large_as_it_is_decoded(encode):
    picture, limit = Image.new("RGB", (800, 640)), 100 * 80
    assert decoder.decode(encode(picture, ".jpg"), 40, "x", max_pixels=limit).size == (100, 80)
    with pytest.raises(decoder.UnreadableImageError, match="above the limit"):
        decoder.decode(encode(picture, ".jpg"), 41, "x", max_pixels=limit)
    # The decoder keeps all pixels of these at full size.
    with pytest.raises(decoder.UnreadableImageError, match="above the limit"):
        decoder.decode(encode(picture, ".jpg", progressive=True), 40, "x", max_pixels=limit)


def test_a_jpeg_of_one_scan_for_each_channel_counts_at_full_size(encode):
    data = encode(Image.new("RGB", (800, 640)), ".jpg")
    # The header of the first scan names one channel instead of three.
    start = data.index(b"\xff\xda")
    data = data[:start] + b"\xff\xda\0\x08\x01\x01\0\0\x3f\0" + data[start + 14 :]
    with pytest.raises(decoder.UnreadableImageError, match="above the limit"):
        decoder.decode(data, 40, "x", max_pixels=100 * 80)


def tiled_tiff(side, tile_side):
    """Return the bytes of a grey TIFF file of one tile, compressed."""
    pixels = zlib.compress(bytes(tile_side**2))
    tags = {"ImageWidth": side, "ImageLength": side, "BitsPerSample": 8, "Compression": 8, "SamplesPerPixel": 1}
    tags |= {"PhotometricInterpretation": 1, "TileWidth": tile_side, "TileLength": tile_side}
    tags |= {"TileOffsets": 8, "TileByteCounts": len(pixels)}
    entries = [struct.pack("<HHII", Tag[name], 4, 1, value) for name, value in tags.items()]
    directory = struct.pack("<H", len(entries)) + b"".join(sorted(entries, key=lambda entry: entry[1::-1])) + bytes(4)
    return b"II*\0" + struct.pack("<I", 8 + len(pixels)) + pixels + directory


def test_a_tile_counts_that_is_larger_than_its_image():
    assert decoder.decode(tiled_tiff(16, 64), 16, "x", max_pixels=64 * 64).size == (16, 16)
    with pytest.raises(decoder.UnreadableImageError, match="above the limit"):
        decoder.decode(tiled_tiff(16, 64), 16, "x", max_pixels=1000)


def test_rows_that_a_tiff_file_does_not_have_are_no_black_rows(encode):
    data = bytearray(encode(Image.new("RGB", (4, 4), "white"), ".tif"))
    place = data.index(struct.pack("<HHI", Tag.ImageLength, 4, 1))
    data[place + 8 : place + 12] = struct.pack("<I", 400)
    with pytest.raises(decoder.UnreadableImageError, match=r"\(damaged: 4 of its 400 rows are there\)$"):
        decoder.decode(bytes(data), 16, "x")


@pytest.mark.parametrize("mode", ["RGB", "P", "RGBA", "I;16"])
def test_a_large_image_is_shrunk_by_a_whole_number_to_twice_the_size_or_more(encode, draw_picture, monkeypatch, mode):
    picture = draw_picture(GREEN, 1, 250)
    picture = picture.convert("L").convert("I").point(lambda level: level * 256) if mode == "I;16" else picture
    data = encode(picture.convert(mode).crop((0, 0, 250, 170)), ".png")
    whole = decoder.decode(data, 20, "x")
    monkeypatch.setattr(decoder, "LARGE_PIXELS", 250 * 170 - 1)
    monkeypatch.setattr("graft.images.colour.STRIP_PIXELS", 250 * 5)
    shrunk = decoder.decode(data, 20, "x")
    assert shrunk.size == (63, 43)
    np.testing.assert_array_equal(np.asarray(shrunk), np.asarray(whole.reduce(4)))


def test_of_a_large_image_that_is_not_scaled_the_middle_is_kept(encode, draw_picture, monkeypatch):
    picture = draw_picture(GREEN, 1, 64)
    monkeypatch.setattr(decoder, "LARGE_PIXELS", 1000)
    middle = decoder.decode(encode(picture, ".png"), 20, "x", scaled=False)
    np.testing.assert_array_equal(np.asarray(middle), np.asarray(picture)[22:42, 22:42])


def test_memory_has_a_bound_that_does_not_grow_with_the_threads(encode, run_python, tmp_path):
    # 60 megapixels each, 240 MB as RGB.
    (tmp_path / "a.png").write_bytes(encode(Image.new("P", (60_000, 1000)), ".png", compress_level=1))
    script = """
import resource
from concurrent.futures import ThreadPoolExecutor
from graft.images import decoder
data = open("a.png", "rb").read()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
with ThreadPoolExecutor(6) as threads:
    list(threads.map(lambda _: decoder.decode(data, 16, "x"), range(6)))
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""
    result = run_python("-c", script, folder=tmp_path)
    assert result.returncode == 0, result.stderr
    assert int(result.stdout) < 200


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".gif", ".webp", ".bmp", ".ppm", ".tif", ".avif"])
def test_damage_gives_an_image_or_a_refusal_and_nothing_else(encode, draw_picture, suffix):
    data, rng, refusals = encode(draw_picture(BLUE, 2), suffix), random.Random(0), []
    for _ in range(150):
        damaged = bytearray(data)
        for _ in range(rng.randint(1, 4)):
            damaged[rng.randrange(min(len(data), 200))] = rng.randrange(256)
        try:
            decoder.decode(bytes(damaged), 16, "x")
        except decoder.UnreadableImageError as error:
            refusals.append(str(error))
    assert refusals
    assert not [refusal for refusal in refusals if "\n" in refusal]
