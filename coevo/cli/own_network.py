"""A user's own network as ``--network`` of a command: ``model.onnx`` or ``file.py:name``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from coevo.errors import SpecError

if TYPE_CHECKING:
    from coevo.workload import Workload


def own_workload(network: str) -> Workload | None:
    """Returns the layers of a user's own network by the running command's options; None if the name is a space's.

    Raises:
        SpecError: The network is not understood, or an option means nothing to it.
    """
    from coevo.networks.importing import import_network, is_own_network

    context = click.get_current_context()
    ignored: tuple[str, ...] = context.params.get("ignored", ())

    def given(name: str) -> bool:
        return context.get_parameter_source(name) not in (ParameterSource.DEFAULT, None)

    if not is_own_network(network):
        if ignored:
            raise SpecError("is for networks of your own, *.onnx or file.py:name", field="--ignore-unknown")
        return None
    for name, option in (("genes", "--gene"), ("classes", "--classes")):
        if given(name):
            raise SpecError(f"means nothing to {network}, which is one network; leave it out", field=option)
    return import_network(network, context.params["shape"] if given("shape") else None, ignored)
