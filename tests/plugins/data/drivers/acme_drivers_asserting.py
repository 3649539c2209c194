raise AssertionError("no device")
