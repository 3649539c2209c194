"""ONNX bundles."""

import os

# ONNX Runtime 1.29 and later report its use to Microsoft and write an identifier into TMPDIR, from
# the moment of its import. Set it to 0 to allow that. sherpa-onnx has an ONNX Runtime of its own.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
