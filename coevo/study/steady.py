"""The steady-state schedule: as one training ends it is told, and the next one begins.

Workers do not wait for the longest training of a batch. As many trainings are in flight, asked for and not told, as the
experiment says (``steady_state: {in_flight: 8}``): at least as many as there are workers, for others would idle; a few
more, and a worker need not wait while the optimiser thinks; not many more, for the optimiser does not know yet what
those will give. What the optimiser is told, and when, depends on this number and not on that of workers.

**Batches.** An optimiser may ask for several designs at once. They are queued and worked off in their order, and it is
asked again when the queue is worked off and fewer than ``in_flight`` are under way. So the last designs of a large
batch are based on what was known when it was asked for; ``batch`` or ``offspring`` of 1 asks anew for each training.
All designs of a network share its training and are told together. Designs that need no training, as hardware rules them
out or their network is trained already, are told as soon as they are at the head of the queue.

**The order is a fact of the run**, not of the seed: how long trainings take decides which ends first. The log keeps it:
every ask, start and tell is committed before the next. A resumed run is replayed by the log and goes on from there:
what was told is never trained again, what was in flight begins anew, knowing what it knew before. Two runs of one seed
may differ, unless there is one worker: then trainings end in the order in which they began, and the same seed gives the
same front, killed or not. A budget that is raised afterwards goes on from a run whose last trainings had no successors,
which is not the run that a larger budget would have made from the start.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from coevo.design import Evaluation
from coevo.errors import RunError
from coevo.evaluate import KeyedTrainings
from coevo.protocols import Context
from coevo.space import Genomes
from coevo.study.log import Genome, genome_key
from coevo.study.search import EXHAUSTED, SPENT, STALE_ASKS, Search
from coevo.study.store import Event, Place


@dataclass(frozen=True)
class Flight:
    """A training under way.

    Attributes:
        designs: Those for which it was begun, by place.
        after: How many designs were told before: what it may know.
    """

    designs: dict[Place, Genome]
    after: int


class SteadyState:
    """Always as many trainings under way (socket `coevo.study.search.Schedule`).

    Args:
        search: The run's parts; its accuracy model takes networks one by one.
        in_flight: How many.
    """

    def __init__(self, search: Search, in_flight: int) -> None:
        self.told: tuple[Evaluation, ...] = ()
        self.ended = ""
        self._search = search
        self._most = in_flight
        self._queue: dict[Place, Genome] = {}
        self._flights: dict[str, Flight] = {}
        self._told: dict[Genome, None] = {}
        self._keys: dict[Place, str] = {}
        self._trainings: KeyedTrainings | None = None
        self._replayed = False
        self._step = search.first_step - 1
        self._waits = False
        self._stale = 0

    @property
    def step(self) -> int:
        """The last ask; the first before there is any."""
        return max(self._search.first_step, self._step)

    @property
    def in_flight(self) -> int:
        """Trainings under way."""
        return len(self._flights)

    def work(self) -> Generator[None, None, None]:
        """Goes on until the optimiser is told something; pauses then if any of it is new.

        Raises:
            RunError: The log cannot be replayed.
        """
        self.ended, self.told = "", ()
        if not self._replayed:
            self._replay()
        ready = self._fill()
        if not ready and self._flights:
            ready = self._landed(self._under_way().next())
        if not ready:
            self.ended = SPENT if self._queue or self._fraction >= 1 else EXHAUSTED
            self._search.close_step(self._step)
            return
        new = self._tell(ready)
        self._fill()  # so that no worker waits while the caller looks at what is known
        if new:
            yield

    def stop(self) -> None:
        """Ends the trainings under way; the next `work` begins them anew."""
        if self._trainings is not None:
            self._trainings.close()
            self._trainings = None

    # -- what to work on ---------------------------------------------------------------------------------------

    def _fill(self) -> dict[Place, Genome]:
        """Begins trainings until enough are under way, or returns what is at the head of the queue and needs none."""
        tracker = self._search.tracker
        while len(self._flights) < self._most:
            self._look_up()
            key = next((self._keys[place] for place in self._queue if self._keys[place] not in self._flights), None)
            if key is None:
                if not self._may_ask():
                    break
                self._ask()
            elif not key or tracker.is_trained(key):
                return self._head()
            elif self._room < 1 or not self._may_train():
                break
            else:
                self._start(key)
        return {}

    def _may_ask(self) -> bool:
        return not self._waits and self._stale < STALE_ASKS and self._fraction < 1

    def _ask(self) -> None:
        asked = self._search.ask(self._step + 1)
        self._search.log.store.note(Event("ask"))
        self._take_in(asked)

    def _take_in(self, asked: Genomes) -> None:
        """Queues designs; one that is worked on already is told once, at its first place.

        An optimiser that asks for nothing else is asked again when something is told. One that asks for what it was
        told is told again.
        """
        self._step += 1
        open_now = {*self._queue.values(), *(genome for of in self._flights.values() for genome in of.designs.values())}
        queued, new = 0, False
        for position, genome in enumerate(map(genome_key, asked)):
            if genome not in open_now:
                open_now.add(genome)
                self._queue[self._step, position] = genome
                queued, new = queued + 1, new or genome not in self._told
        self._waits = not queued
        self._stale = 0 if new else self._stale + bool(queued)

    def _look_up(self) -> None:
        """Finds the keys of the accuracies that queued designs need; empty for what is known or needs none."""
        places = [place for place in self._queue if place not in self._keys]
        new = [place for place in places if self._queue[place] not in self._told]
        keys = self._search.evaluator.training_keys(self._matrix(self._queue[place] for place in new)) if new else []
        self._keys |= dict.fromkeys(places, "") | dict(zip(new, keys, strict=True))

    def _head(self) -> dict[Place, Genome]:
        """Returns the first designs of the queue, but those under way, as far as they need no training.

        And as far as the budget allows them.
        """
        head: dict[Place, Genome] = {}
        room = self._room
        for place, genome in self._queue.items():
            key = self._keys[place]
            if key in self._flights:
                continue
            new = genome not in self._told
            if (key and not self._search.tracker.is_trained(key)) or room < new:
                break
            room -= new
            head[place] = genome
        return head

    # -- trainings ---------------------------------------------------------------------------------------------

    def _start(self, key: str) -> None:
        """Begins a training for all queued designs that need it, as far as the budget allows."""
        places = [place for place in self._queue if self._keys[place] == key][: self._room]
        self._search.log.store.note(Event("start", tuple(places), key))
        self._take_off(key, places)
        if self._trainings is None:
            self._under_way()
        else:
            self._send(key, self._trainings)

    def _take_off(self, key: str, places: Iterable[Place]) -> None:
        designs = {place: self._queue.pop(place) for place in places}
        self._flights[key] = Flight(designs, len(self._told))

    def _landed(self, key: str) -> dict[Place, Genome]:
        """Returns the designs that waited for a training, also those that were asked for since it began."""
        self._look_up()
        since = [place for place in self._queue if self._keys[place] == key][: self._room]
        return self._flights[key].designs | {place: self._queue[place] for place in since}

    def _under_way(self) -> KeyedTrainings:
        """Returns the trainings; those that are not running are begun, in their order."""
        if self._trainings is None:
            self._trainings = self._search.evaluator.begin(self._search.log.store.accuracies)
            for key in self._flights:
                self._send(key, self._trainings)
        return self._trainings

    def _send(self, key: str, trainings: KeyedTrainings) -> None:
        search, flight = self._search, self._flights[key]
        genomes = self._matrix(flight.designs.values())
        accuracies = search.log.store.accuracies
        told = list(self._told)[: flight.after]
        context = Context(
            history=search.evaluator.candidates(self._matrix(told), accuracies),
            company=search.evaluator.candidates(genomes),
            memory=accuracies,
            folder=search.folder,
        )
        trainings.add(key, search.evaluator.joint.design(genomes[0]), context)

    # -- the budget --------------------------------------------------------------------------------------------

    @property
    def _flying(self) -> int:
        """Designs that wait for trainings under way."""
        return sum(len(flight.designs) for flight in self._flights.values())

    @property
    def _room(self) -> int:
        """New designs that the budget allows beside those under way."""
        return self._search.plan.budget.most_designs - self._search.tracker.designs - self._flying

    def _may_train(self) -> bool:
        """Whether the budget allows a training beside those under way."""
        most = self._search.plan.budget.trainings
        return most is None or self._search.tracker.trainings + len(self._flights) < most

    @property
    def _fraction(self) -> float:
        """Fraction of the budget that is spent or under way."""
        tracker = self._search.tracker
        return self._search.plan.budget.spent(tracker.designs + self._flying, tracker.trainings + len(self._flights))

    # -- what is known -----------------------------------------------------------------------------------------

    def _tell(self, designs: Mapping[Place, Genome]) -> bool:
        """Evaluates designs whose accuracies are known, commits and tells them; says whether any is new."""
        search, log = self._search, self._search.log
        new = {place: genome for place, genome in designs.items() if genome not in self._told}
        genomes = self._matrix(new.values())
        places = list(new)
        keys = search.evaluator.training_keys(genomes) if new else []
        found = dict(search.evaluator.evaluate(genomes, 0, log.store.accuracies, Context())) if new else {}
        told = [(replace(found[i], step=step), position, keys[i]) for i, (step, position) in enumerate(places)]
        log.add_told(list(designs), told)
        self._note_told(designs)
        return bool(new)

    def _note_told(self, designs: Mapping[Place, Genome]) -> None:
        """Tells the optimiser of designs that are in the log; they are no longer queued or under way."""
        known = self._search.log.known
        self.told = tuple(known[genome] for genome in designs.values())
        self._told |= dict.fromkeys(designs.values())
        for place in designs:
            self._queue.pop(place, None)
            self._keys.pop(place, None)
        self._flights = {
            key: flight for key, flight in self._flights.items() if flight.designs.keys().isdisjoint(designs)
        }
        self._waits = False
        self._search.tell(self.told)
        steps = [step for step, _ in (*self._queue, *(place for of in self._flights.values() for place in of.designs))]
        self._search.close_step(min(steps, default=self._step + 1) - 1)

    # -- replay ------------------------------------------------------------------------------------------------

    def _replay(self) -> None:
        """Goes through the log: asks, starts and tells as it says."""
        for event in self._search.log.store.events():
            if event.kind == "ask":
                self._take_in(self._search.ask(self._step + 1))
                continue
            designs = self._found(event.places)
            if event.kind == "tell":
                self._note_told(designs)
            else:
                self._put_back(event.training)
                self._take_off(event.training, designs)
        if len(self._told) != len(self._search.log.known):
            folder = self._search.folder
            raise RunError(f"{folder}: the log is damaged: it lacks when designs were told; choose another (--out)")
        self._check_flights()
        self.told = ()
        self._replayed = True

    def _found(self, places: Iterable[Place]) -> dict[Place, Genome]:
        """Returns the designs asked for at places, which must be those that the log holds there, if it holds any."""
        open_now = dict(self._queue)
        for flight in self._flights.values():
            open_now |= flight.designs
        for place in places:
            genome = open_now.get(place)
            logged = self._search.log.genome_at(place)
            if genome is None or logged not in (None, genome):
                raise self._search.log.diverged(place[0])
        return {place: open_now[place] for place in places}

    def _check_flights(self) -> None:
        """Holds what is under way against the log, and puts back what a smaller budget no longer allows."""
        flights, self._flights = self._flights, {}
        for key, flight in flights.items():
            if set(self._search.evaluator.training_keys(self._matrix(flight.designs.values()))) != {key}:
                raise self._search.log.diverged(next(iter(flight.designs))[0])
            allowed = self._room >= len(flight.designs) and self._may_train()
            self._flights[key] = flight
            if not allowed:
                self._put_back(key)

    def _put_back(self, key: str) -> None:
        """Queues the designs of a training again, if it is under way, at the place where they were asked for."""
        flight = self._flights.pop(key, None)
        if flight is not None:
            self._queue = dict(sorted({**self._queue, **flight.designs}.items()))

    def _matrix(self, genomes: Iterable[Genome]) -> Genomes:
        """Returns genomes as a matrix ``(design, gene)``."""
        width = len(self._search.evaluator.space.genes)
        return np.array(list(genomes), dtype=np.int64).reshape(-1, width)
