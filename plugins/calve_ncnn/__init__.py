"""ncnn bundles: export by pnnx, metadata, checks, runtime, int8 and the sherpa-ncnn client."""
