"""Nothing of OpenVINO can be imported by a Python that has this folder in PYTHONPATH, as if it were not installed."""

import sys

for name in ("openvino", "openvino_genai", "openvino_tokenizers", "nncf"):
    sys.modules[name] = None  # type: ignore[assignment]
