"""Decoding graphs without k2: the lexicon L, the grammar G and their composition LG.

To build a graph from a BPE model, a list of words and an ARPA file::

    lang = prepare_lang(folder, bpe_model, words)      # words.txt, lexicon*.txt, tokens.txt, L*.fst
    prepare_graph(folder, arpa)                        # G.fst.txt, LG.npz
    graph = DecodingGraph.read(folder / "LG.npz")      # what fast_beam_search_LG takes

`calve_graphs.preparation` contains these two functions. `calve_graphs.lexicon` and
`calve_graphs.grammar` build L and G, `calve_graphs.compilation` compiles LG, and
`calve_graphs.graph` contains the graph itself. This package registers nothing. Corpora call it
during preparation, and decoding methods call it to read a graph.
"""
