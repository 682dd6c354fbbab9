"""An image file becomes the float array a classifier expects.

Files come from people who may mean harm: only formats decoded in-process are opened (no PostScript),
and the size is judged from the header before a pixel is decoded.
"""
import os
from typing import Any, Dict

from PIL import Image, ImageOps, UnidentifiedImageError

from errors import WorkerError

MAX_PIXELS = 50_000_000
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
HINT = "send a JPEG, PNG, WebP, GIF, BMP or TIFF file"
Image.MAX_IMAGE_PIXELS = None    # judged in open_image, with an error a task can show


def open_image(path: str, crop: int) -> Image.Image:
    """The picture at path: upright, RGB, not much larger than the classifier needs."""
    if not os.path.isfile(path):
        raise WorkerError("input_missing", f"the input '{path}' is not there", "upload it as a blob and name it in input_data")
    try:
        with Image.open(path, formats=FORMATS) as image:
            return _decode(image, 3 * crop)
    except WorkerError:
        raise
    except MemoryError:
        raise WorkerError("oom_host", "the picture does not fit the memory of the slice", "submit again with a larger --mem") from None
    except Exception as error:    # Pillow's decoders raise many kinds on a broken file
        raise WorkerError("user_error", f"not an image that can be read: {_sentence(error)}", HINT) from None


def _sentence(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "its format is unknown"
    return str(error) or type(error).__name__


def _decode(image: Image.Image, enough: int) -> Image.Image:
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise WorkerError("user_error", f"the picture has {width} x {height} pixels, more than {MAX_PIXELS // 10**6} million",
                          "scale it down; classifiers look at 224 x 224")
    image.draft("", (enough, enough))    # JPEG: decode at 1/2, 1/4 or 1/8 where that is enough
    image.load()
    orientation = image.getexif().get(0x0112, 1)
    picture = _to_rgb(_shrink(image, enough))
    if orientation in range(2, 9):
        picture.getexif()[0x0112] = orientation
        picture = ImageOps.exif_transpose(picture)
    return picture


def _shrink(image: Image.Image, enough: int) -> Image.Image:
    """Average blocks of pixels while the short side stays large enough: bounds what later steps hold."""
    factor = min(image.size) // enough
    return image.reduce(factor) if factor > 1 and image.mode in ("L", "LA", "RGB", "RGBA", "CMYK", "YCbCr") else image


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F" or image.mode.startswith("I"):
        image = _to_8_bit(image)
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        layer = image.convert("RGBA")
        ground = Image.new("RGBA", layer.size, (255, 255, 255, 255))
        return Image.alpha_composite(ground, layer).convert("RGB")
    return image.convert("RGB")


def _to_8_bit(image: Image.Image) -> Image.Image:
    """16-bit, 32-bit and float grey: Pillow's convert would clip all above 255 to white."""
    import numpy
    grey = numpy.asarray(image, dtype=numpy.float32)
    top = float(grey.max(initial=0))
    scale = 1.0 if top <= 1 else 255.0 if top <= 255 else 65535.0 if top <= 65535 else top
    if image.mode != "F" and top <= 1:
        scale = 255.0
    return Image.fromarray(numpy.clip(grey * (255.0 / scale), 0, 255).astype(numpy.uint8), "L")


def to_array(picture: Image.Image, spec: Dict[str, Any]) -> Any:
    """float32 [3, size, size]: the centre, scaled so that the short side would be resize_short."""
    import numpy
    size, short = spec["size"], spec["resize_short"]
    width, height = picture.size
    side = min(width, height) * size / short
    left, upper = (width - side) / 2, (height - side) / 2
    resample = Image.Resampling[spec["interpolation"].upper()]
    small = picture.resize((size, size), resample, box=(left, upper, left + side, upper + side))
    pixels = numpy.asarray(small, dtype=numpy.float32) / 255.0
    mean, std = (numpy.asarray(spec[name], dtype=numpy.float32) for name in ("mean", "std"))
    return numpy.ascontiguousarray(((pixels - mean) / std).transpose(2, 0, 1))
