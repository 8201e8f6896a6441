"""Prints the share of pixels in an image (base64 on stdin) that differ from the most frequent colour: 0 if blank."""

import base64
import io
import sys
from collections import Counter

from PIL import Image

image = Image.open(io.BytesIO(base64.b64decode(sys.stdin.read()))).convert("RGB")
raw = image.tobytes()
pixels = Counter(zip(raw[::3], raw[1::3], raw[2::3], strict=True))
print(1 - pixels.most_common(1)[0][1] / (image.width * image.height))
