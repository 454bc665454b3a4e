"""Generation engines."""

import sys

# OpenVINO's converter and nncf report each use to a web service, unless they find no library for it.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
