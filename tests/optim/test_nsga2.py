from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from deap import base, tools
from pydantic import ValidationError

from coevo import pareto
from coevo.optim import operators, proposals
from coevo.optim.nsga2 import NSGA2, NSGA2Settings
from coevo.optim.random import RandomSearch
from coevo.space import Gene, Space

from .problem import NETWORK, TEMPLATES, AnalyticProblem


def plain(**settings: Any) -> NSGA2Settings:
    """NSGA-II as it is known: what it learns of errors is tested in test_guided.py."""
    return NSGA2Settings(error_model="none", **settings)


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def search(plugin: Any, problem: AnalyticProblem, budget: int, seed: int, **settings: Any) -> tuple[np.ndarray, ...]:
    """Genomes, values and violation of everything evaluated."""
    build = plain if plugin is NSGA2 else plugin.Settings
    optimizer = plugin(problem, build(**settings), generator(seed))
    batches: list[tuple[np.ndarray, ...]] = []
    while sum(len(batch[0]) for batch in batches) < budget:
        genomes = optimizer.ask()
        values, violation = problem.evaluate(genomes)
        optimizer.tell(genomes, values, violation)
        batches.append((genomes, values, violation))
    return tuple(np.concatenate(parts)[:budget] for parts in zip(*batches, strict=True))


# -- the search ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("screen", [True, False])
def test_beats_random_search_at_equal_budget_in_nine_of_ten_seeds(screen):
    reference = np.array([100.0, 4.0, 6.0])
    wins = 0
    for seed in range(10):
        problem = AnalyticProblem()
        volumes = []
        for plugin, settings in ((NSGA2, {"hardware_screen": screen}), (RandomSearch, {})):
            _, values, violation = search(plugin, problem, budget=300, seed=seed, **settings)
            volumes.append(pareto.hypervolume(values[violation == 0], reference))
        wins += volumes[0] > volumes[1]
    assert wins >= 9


def test_finds_the_known_front_of_a_large_space():
    # One gene trades the objectives off, eight others only do harm: the front is 11 of 11 * 6**8 = 18 million designs.
    class Tradeoff(AnalyticProblem):
        def evaluate(self, genomes):
            x, harm = genomes[:, 0].astype(float), genomes[:, 1:].sum(axis=1).astype(float)
            return np.column_stack([x + harm, 10 - x + harm, harm]), np.zeros(len(x))

    harms = tuple(Gene(f"{'net' if i < 4 else 'chip'}.harm{i}", tuple(range(6))) for i in range(8))
    problem = Tradeoff(genes=(Gene("net.x", tuple(range(11))), *harms))
    for seed in range(3):
        genomes, values, violation = search(NSGA2, problem, budget=900, seed=seed)
        front = genomes[pareto.nondominated(values, violation)]
        np.testing.assert_array_equal(front[np.argsort(front[:, 0])], np.eye(1, 9, dtype=int) * np.arange(11)[:, None])


def test_the_hardware_screen_proposes_only_what_can_be_built_where_that_is_easy():
    screened, plain = AnalyticProblem(max_area=300.0), AnalyticProblem(max_area=300.0)
    assert (search(NSGA2, screened, budget=90, seed=1, trials=1)[2] == 0).all()
    assert (search(NSGA2, plain, budget=90, seed=1, trials=1, hardware_screen=False)[2] > 0).mean() > 0.2
    assert plain.scored == 0
    assert screened.scored < 90 * proposals.REDRAWS


def test_where_nothing_can_be_built_the_least_violating_proposals_are_asked():
    problem = AnalyticProblem(max_area=1.0)
    asked = NSGA2(problem, plain(population=10), generator()).ask()
    drawn = problem.space.sample(generator(), 500)
    assert len(asked) == 10
    assert problem.evaluate(asked)[1].max() < np.quantile(problem.evaluate(drawn)[1], 0.3)


def test_told_designs_that_were_never_asked_for_become_parents():
    problem = AnalyticProblem()
    best = search(NSGA2, problem, budget=600, seed=5)
    front = pareto.nondominated(best[1], best[2])
    optimizer = NSGA2(problem, plain(population=8), generator(1))
    optimizer.tell(*(part[front][:8] for part in best))
    children = optimizer.ask()
    parents = best[0][front][:8]
    apart = (children[:, None, :] != parents[None, :, :]).sum(axis=2).min(axis=1)
    assert np.median(apart) <= len(problem.space.genes) / 4


def test_the_best_of_parents_and_offspring_survive():
    problem = AnalyticProblem()
    optimizer = NSGA2(problem, plain(population=12, trials=1), generator())
    known_genomes, known_values, known_violation = [], [], []
    for _ in range(6):
        genomes = optimizer.ask()
        values, violation = problem.evaluate(genomes)
        optimizer.tell(genomes, values, violation)
        known_genomes.append(genomes)
        known_values.append(values)
        known_violation.append(violation)
    everything = np.concatenate(known_values), np.concatenate(known_violation)
    best = np.concatenate(known_genomes)[pareto.nondominated(*everything)]
    survivors = {tuple(row) for row in optimizer._genomes}
    assert len(survivors) == 12
    # Crowding may drop points of a front larger than the population, but nothing dominated stays beside it.
    assert len({tuple(row) for row in best} & survivors) == min(12, len(best))


def test_of_a_design_told_twice_the_first_figures_count():
    problem = AnalyticProblem()
    optimizer = NSGA2(problem, plain(population=4, trials=1), generator())
    genomes = optimizer.ask()
    optimizer.tell(genomes, np.ones((4, 3)), np.zeros(4))
    optimizer.tell(genomes, np.zeros((4, 3)), np.zeros(4))
    np.testing.assert_array_equal(optimizer._values, np.ones((4, 3)))


def test_offspring_sets_the_size_of_later_asks():
    problem = AnalyticProblem()
    optimizer = NSGA2(problem, plain(population=10, offspring=3, trials=1), generator())
    genomes = optimizer.ask()
    assert len(genomes) == 10
    optimizer.tell(genomes[:6], *problem.evaluate(genomes[:6]))
    assert len(optimizer.ask()) == 3  # as many as it spreads are asked for, told or not
    optimizer.tell(genomes[6:], *problem.evaluate(genomes[6:]))
    assert len(optimizer.ask()) == 3


def networks_of(problem, genomes):
    is_network = np.array([gene.name.startswith("net.") for gene in problem.space.genes])
    return [tuple(row) for row in genomes[:, is_network]]


def test_a_network_is_proposed_with_accelerators_that_do_not_beat_each_other():
    problem = AnalyticProblem()
    optimizer = NSGA2(problem, plain(population=8, trials=24, pairings=3), generator())
    for _ in range(3):
        genomes = optimizer.ask()
        values, violation = problem.evaluate(genomes)
        assert (violation == 0).all()
        by_network = {}
        for network, figures in zip(networks_of(problem, genomes), values, strict=True):
            by_network.setdefault(network, []).append(figures[1:])
        assert len(by_network) <= 8 < len(genomes)
        for figures in by_network.values():
            assert len(figures) <= 3
            assert pareto.nondominated(np.array(figures), np.zeros(len(figures))).all()
        optimizer.tell(genomes, values, violation)


def test_where_hardware_decides_everything_nothing_is_tried_beforehand():
    """Otherwise each proposal would stand for many evaluations, and no comparison at equal budget were fair."""

    class Known(AnalyticProblem):
        def hardware(self, genomes):
            return self.evaluate(genomes)

    with_trials = NSGA2(Known(), plain(population=8), generator()).ask()
    without = NSGA2(Known(), plain(population=8, trials=1), generator()).ask()
    np.testing.assert_array_equal(with_trials, without)


def test_trials_find_more_with_the_same_number_of_trained_networks():
    volumes = {1: [], 32: []}
    for trials, seed in itertools.product(volumes, range(5)):
        problem = AnalyticProblem()
        optimizer = NSGA2(problem, plain(population=20, trials=trials), generator(seed))
        trained, found = set(), []
        while len(trained) < 80:
            genomes = optimizer.ask()
            values, violation = problem.evaluate(genomes)
            optimizer.tell(genomes, values, violation)
            for network, figures, broken in zip(networks_of(problem, genomes), values, violation, strict=True):
                if network in trained or len(trained) < 80:
                    trained.add(network)
                    found += [figures] if broken == 0 else []
        volumes[trials].append(pareto.hypervolume(np.array(found), np.array([100.0, 3.0, 5.0])))
    assert all(many > one for one, many in zip(volumes[1], volumes[32], strict=True)), volumes


def test_an_operator_may_be_registered_anew():
    problem = AnalyticProblem()
    optimizer = NSGA2(problem, plain(population=6), generator())
    genomes = optimizer.ask()
    optimizer.tell(genomes, *problem.evaluate(genomes))
    seen = []
    optimizer.toolbox.register("mutate", lambda children: seen.append(len(children)) or children)
    optimizer.ask()
    assert seen


@pytest.mark.parametrize(
    ("setting", "value", "problem"),
    [
        ("population", 1, "greater than or equal to 2"),
        ("offspring", 0, "greater than or equal to 1"),
        ("crossover", 1.5, "less than or equal to 1"),
        ("block_crossover", -0.1, "greater than or equal to 0"),
        ("mutations", 0, "greater than 0"),
        ("step", 2, "less than or equal to 1"),
        ("hardware_screen", "perhaps", "valid boolean"),
    ],
)
def test_settings_out_of_range_are_refused(setting, value, problem):
    with pytest.raises(ValidationError, match=problem):
        NSGA2Settings(**{setting: value})


# -- selection -------------------------------------------------------------------------------------------------


class Fitness(base.Fitness):
    weights = (-1.0, -1.0, -1.0)


class Individual(list):
    def __init__(self, row: int, values: np.ndarray) -> None:
        super().__init__([row])
        self.fitness = Fitness(tuple(values))


@pytest.mark.parametrize("seed", range(20))
def test_survivors_are_those_of_deaps_own_selection_up_to_ties_at_infinite_crowding(seed):
    values = generator(seed).random((80, 3)) if seed % 2 else generator(seed).integers(0, 12, (80, 3)).astype(float)
    if not seed % 2:  # duplicates have no order of their own, so ties would decide
        values += generator(seed).random((80, 3)) * 1e-3
    violation = np.zeros(80)
    mine = operators.select(values, violation, 30)
    deaps = [individual[0] for individual in tools.selNSGA2([Individual(i, v) for i, v in enumerate(values)], 30)]
    rank, crowding = operators.standing(values, violation)
    np.testing.assert_array_equal(np.sort(rank[mine]), np.sort(rank[deaps]))
    for row in set(mine.tolist()) ^ set(deaps):
        assert np.isinf(crowding[row])


def test_selection_takes_feasible_before_infeasible_and_fewer_if_there_are_no_more():
    values = np.array([[5.0, 5.0], [np.nan, np.nan], [1.0, 1.0], [np.nan, np.nan]])
    np.testing.assert_array_equal(operators.select(values, np.array([0.0, 0.2, 0.0, 0.1]), 9), [2, 0, 3, 1])


def test_parents_are_the_better_of_two():
    values = np.arange(10.0)[:, None] * [1.0, 1.0]
    parents = operators.choose(*operators.standing(values, np.zeros(10)), 20_000, rng=generator())
    share = np.bincount(parents, minlength=10) / 20_000
    np.testing.assert_allclose(share, [(2 * (9 - i) + 1) / 100 for i in range(10)], atol=0.01)


def test_between_parents_of_one_rank_the_lonelier_wins():
    values = np.array([[0.0, 10.0], [0.1, 9.9], [0.2, 9.8], [10.0, 0.0]])
    parents = operators.choose(*operators.standing(values, np.zeros(4)), 4_000, rng=generator())
    share = np.bincount(parents, minlength=4) / 4_000
    assert share[1] < share[2] < share[0]


# -- variation -------------------------------------------------------------------------------------------------

SPACE = Space((*NETWORK, *TEMPLATES))


def test_mutation_changes_as_many_active_genes_as_set_and_no_inactive_one():
    genomes = SPACE.sample(generator(), 4_000)
    for mutations in (0.5, 1.0, 3.0):
        mutated = operators.mutate(genomes, space=SPACE, mutations=mutations, step=0.5, rng=generator(1))
        changed = mutated != genomes
        assert not (changed & ~SPACE.active(genomes)).any()
        assert changed.sum(axis=1).mean() == pytest.approx(mutations, rel=0.1)
        SPACE.check(mutated)


def test_every_active_gene_with_a_choice_mutates_and_takes_any_other_choice():
    space = Space((Gene("size", (1, 2, 3, 4)), Gene("kind", ("a", "b", "c"), ordered=False), Gene("fixed", (1,))))
    genomes = np.tile(np.array([[1, 0, 0]], dtype=np.int64), (6_000, 1))
    mutated = operators.mutate(genomes, space=space, mutations=2.0, step=0.0, rng=generator())
    np.testing.assert_array_equal(np.unique(mutated[:, 0]), [0, 2, 3])
    np.testing.assert_allclose(np.bincount(mutated[:, 0])[[0, 2, 3]], 2_000, rtol=0.1)
    np.testing.assert_array_equal(np.unique(mutated[:, 1]), [1, 2])
    assert not mutated[:, 2].any()


def test_steps_move_ordered_genes_to_neighbours_and_others_anywhere():
    space = Space((Gene("size", (1, 2, 3, 4, 5)), Gene("kind", tuple("abcde"), ordered=False)))
    for start, neighbours in ((0, [1]), (2, [1, 3]), (4, [3])):
        genomes = np.full((2_000, 2), start, dtype=np.int64)
        mutated = operators.mutate(genomes, space=space, mutations=2.0, step=1.0, rng=generator())
        np.testing.assert_array_equal(np.unique(mutated[:, 0]), neighbours)
        assert len(np.unique(mutated[:, 1])) == 4


def test_genes_switched_on_by_a_change_take_the_partners_value_or_a_random_one():
    space = Space((Gene("depth", (1, 2)), Gene("kernel", tuple(range(9)), parent="depth", when=(2,))))
    shallow, deep = np.array([[0, 0]] * 900), np.array([[1, 7]] * 900)
    np.testing.assert_array_equal(operators.complete(shallow, deep, space, generator()), [[0, 7]] * 900)
    np.testing.assert_array_equal(operators.complete(deep, shallow, space, generator()), deep)
    alone = operators.complete(shallow, shallow, space, generator())
    assert not alone[:, 0].any()
    np.testing.assert_allclose(np.bincount(alone[:, 1], minlength=9), 100, rtol=0.35)


def test_a_block_is_a_name_prefix_and_conditional_genes_follow_their_parent():
    blocks = operators.blocks(SPACE)
    np.testing.assert_array_equal(blocks, [0] * len(NETWORK) + [1] * len(TEMPLATES))
    one_template = Space((Gene("net.width", (1, 2)), Gene("eyeriss.rows", (1, 2)), Gene("eyeriss.columns", (1, 2))))
    np.testing.assert_array_equal(operators.blocks(one_template), [0, 1, 1])
    assert operators.blocks(Space(())).shape == (0,)


def mated(blocks: list[int], crossover: float, block_crossover: float) -> tuple[np.ndarray, np.ndarray]:
    genes = len(blocks)
    return operators.mate(
        np.zeros((500, genes), dtype=np.int64),
        np.ones((500, genes), dtype=np.int64),
        blocks=np.array(blocks),
        crossover=crossover,
        block_crossover=block_crossover,
        rng=generator(),
    )


def test_block_crossover_swaps_one_whole_block():
    daughters, sons = mated([0, 0, 0, 1, 1], crossover=1.0, block_crossover=1.0)
    np.testing.assert_array_equal(daughters + sons, 1)
    np.testing.assert_array_equal(np.unique(daughters, axis=0), [[0, 0, 0, 1, 1], [1, 1, 1, 0, 0]])


@pytest.mark.parametrize("blocks", [[0, 0, 0, 1, 1], [0, 0, 0, 0, 0]])
def test_uniform_crossover_mixes_single_genes_also_where_there_is_one_block_only(blocks):
    daughters, sons = mated(blocks, crossover=1.0, block_crossover=0.0 if max(blocks) else 1.0)
    np.testing.assert_array_equal(daughters + sons, 1)
    np.testing.assert_allclose(daughters.mean(axis=0), 0.5, atol=0.08)
    assert len(np.unique(daughters, axis=0)) == 32


def test_without_crossover_children_are_their_parents():
    daughters, sons = mated([0, 0, 1], crossover=0.0, block_crossover=0.5)
    assert not daughters.any()
    assert sons.all()


def test_the_first_designs_take_every_choice_about_equally_often():
    space = Space((Gene("a", tuple(range(5))), Gene("b", tuple(range(10))), Gene("c", (1,))))
    drawn = operators.spread(space, 20, generator())
    np.testing.assert_array_equal(np.bincount(drawn[:, 0]), [4] * 5)
    np.testing.assert_array_equal(np.bincount(drawn[:, 1]), [2] * 10)
    np.testing.assert_array_equal(
        operators.spread(SPACE, 50, generator()), SPACE.canonical(operators.spread(SPACE, 50, generator()))
    )


def test_of_machines_that_cost_a_network_the_same_only_one_is_proposed():
    class Idle(AnalyticProblem):
        """Has a field that no cost depends on."""

        def evaluate(self, genomes):
            return super().evaluate(np.where(np.arange(genomes.shape[1]) == genomes.shape[1] - 1, 0, genomes))

    genes = (*NETWORK, Gene("array.rows", (4, 8, 16)), Gene("array.columns", (4, 8, 16)))
    genes += (
        Gene("array.buffer_kib", (64, 256)),
        Gene("template", ("array",), ordered=False),
        Gene("array.colour", (1, 2, 3)),
    )
    problem = Idle(genes=genes)
    genomes = NSGA2(problem, plain(population=12), generator()).ask()
    designs: dict[tuple[int, ...], list[tuple[float, ...]]] = {}
    for network, figures in zip(networks_of(problem, genomes), problem.evaluate(genomes)[0], strict=True):
        designs.setdefault(network, []).append(tuple(figures[1:]))
    assert max(len(of) for of in designs.values()) > 1
    assert all(len(of) == len(set(of)) for of in designs.values())
