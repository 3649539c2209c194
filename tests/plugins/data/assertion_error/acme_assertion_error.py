raise AssertionError("the license server is away")
