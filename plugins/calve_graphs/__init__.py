"""Decoding graphs without k2: lexicon L, grammar G, and LG, which searches walk through.

The way from a BPE model, a list of words and an ARPA file to a graph on disk::

    lang = prepare_lang(folder, bpe_model, words)      # words.txt, lexicon*.txt, tokens.txt, L*.fst
    prepare_graph(folder, arpa)                        # G.fst.txt, LG.npz
    graph = DecodingGraph.read(folder / "LG.npz")      # what fast_beam_search_LG takes

`calve_graphs.preparation` has these two functions, `calve_graphs.lexicon` and
`calve_graphs.grammar` the pieces they are made of, `calve_graphs.compilation` the steps from L and
G to LG, and `calve_graphs.graph` the graph itself. This package finds and calls nothing:
corpora call it from their preparation, searches to read a graph.
"""
