"""int8 for ncnn bundles, without ncnn's own tools: calibrate, quantize, judge, report."""
