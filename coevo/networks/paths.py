"""What a network's shape says of it: how signals may go from input to output, and through which operations.

A path's *word* is the sequence of operations on it, wires left out, e.g. ``conv3 pool3``. A network is described by how
many of its paths read which word (the path encoding of White et al., "A Study on Encodings for Neural Architecture
Search", NeurIPS 2020, sec. 3, with counts): how nodes are numbered does not matter, and what no path touches does not
count. A deep network has too many paths to list, but it has nodes that all of them take, behind each cell or block. So
the words of each part between two such nodes are counted alone; the number of paths is the product over the parts, and
lengths, with their variances over all paths, add up.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping

import numpy as np

from coevo.networks.graph import INPUT, Conv, Graph, Node, Pool, Zeros

Word = tuple[str, ...]
"""Operations on a path, in order."""

MOST_WORDS = 512
"""Words that are kept at a node: those that most paths read. Only a part without a waist ever has more."""


def live_nodes(graph: Graph) -> tuple[Node, ...]:
    """Returns the nodes that the input reaches and the output depends on, in the graph's order; perhaps none."""
    reached = {INPUT}
    for node in graph.nodes:
        if not isinstance(node, Zeros) and not reached.isdisjoint(node.sources):
            reached.add(node.name)
    needed = {graph.nodes[-1].name}
    live: list[Node] = []
    for node in reversed(graph.nodes):
        if node.name in needed and node.name in reached:
            live.append(node)
            needed.update(node.sources)
    return tuple(reversed(live))


def parts(graph: Graph) -> Iterator[Mapping[Word, int]]:
    """Yields, for each part of a network between nodes that all its paths take, the number of paths by word."""
    live = live_nodes(graph)
    last_reader = {source: i for i, node in enumerate(live) for source in node.sources}
    words: dict[str, Counter[Word]] = {INPUT: Counter({(): 1})}
    open_until = last_reader.get(INPUT, 0)
    for i, node in enumerate(live):
        found: Counter[Word] = Counter()
        step = _step(node)
        for source in node.sources:
            for word, count in words.get(source, {}).items():
                found[word + step] += count
        words[node.name] = _most(found)
        if open_until <= i:  # whatever comes later reads this node alone
            yield words[node.name]
            words = {node.name: Counter({(): 1})}
        open_until = max(open_until, last_reader.get(node.name, 0))


def structure(graph: Graph) -> dict[str, float]:
    """Returns the features of a network's shape by name; the same for networks that differ in numbering alone.

    ``paths``: logarithm of the number of paths. ``mean``, ``least``, ``most`` and ``variance <op>``: of how often a
    path takes an operation (or any convolution, or any operation), all paths being equally likely; ``together <op>
    <op>``: the covariance of two. ``word <op op ...>``: square root of the number of paths that read it, added up over
    the parts. ``live <op>``: operations that are alive; ``macs at <height>``: logarithm of their multiply-accumulates
    on maps of that height [pixel].
    """
    bags = Counter(tuple(sorted(part.items())) for part in parts(graph))
    features: dict[str, float] = defaultdict(float)
    for bag, times in bags.items():
        for name, value in _part_features(bag).items():
            features[name] += times * value
    macs: dict[str, int] = defaultdict(int)
    for node in live_nodes(graph):
        for operation in _step(node):
            features[f"live {operation}"] += 1
        if isinstance(node, Conv):
            channels, height, width = graph.shapes[node.name]
            taps = graph.shapes[node.source][0] // node.groups * node.kernel**2
            macs[f"macs at {height}"] += channels * height * width * taps
    return {**features, **{name: math.log(count) for name, count in macs.items()}}


def _part_features(bag: tuple[tuple[Word, int], ...]) -> dict[str, float]:
    """The features of one part that add up over parts."""
    total = sum(count for _, count in bag)
    share = np.array([count / total for _, count in bag])
    kinds = sorted({operation for word, _ in bag for operation in word})
    taken = np.array([[word.count(kind) for kind in kinds] for word, _ in bag], dtype=np.float64).reshape(len(bag), -1)
    convolutions = taken[:, [not kind.startswith("pool") for kind in kinds]].sum(axis=1)
    columns = np.column_stack([taken, convolutions, taken.sum(axis=1)])
    mean = share @ columns
    covariance = (columns * share[:, None]).T @ columns - np.outer(mean, mean)
    features = {"paths": math.log(total)}
    features |= {"word " + " ".join(word): math.sqrt(count) for word, count in bag}
    for i, kind in enumerate((*kinds, "convolution", "operation")):
        features[f"mean {kind}"] = float(mean[i])
        features[f"least {kind}"] = float(columns[:, i].min())
        features[f"most {kind}"] = float(columns[:, i].max())
        features[f"variance {kind}"] = float(covariance[i, i])
    for i, j in itertools.combinations(range(len(kinds)), 2):
        features[f"together {kinds[i]} {kinds[j]}"] = float(covariance[i, j])
    return features


def _step(node: Node) -> Word:
    """What a path through a node reads there."""
    if isinstance(node, Conv):
        return (f"{'grouped' if node.groups > 1 else 'conv'}{node.kernel}",)
    return (f"pool{node.kernel}",) if isinstance(node, Pool) else ()


def _most(words: Counter[Word]) -> Counter[Word]:
    if len(words) <= MOST_WORDS:
        return words
    return Counter(dict(sorted(words.items(), key=lambda item: (-item[1], item[0]))[:MOST_WORDS]))
