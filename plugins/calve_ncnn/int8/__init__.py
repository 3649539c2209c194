"""int8 for ncnn bundles without ncnn's tools: calibration, quantization, gate, report."""
