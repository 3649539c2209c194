"""A streaming ConvEmformer for calve that runs in sherpa-ncnn."""
