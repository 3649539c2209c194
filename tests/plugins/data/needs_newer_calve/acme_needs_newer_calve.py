raise AssertionError("imported although its requirements are not met")
