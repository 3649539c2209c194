raise AssertionError("the licence server is away")
