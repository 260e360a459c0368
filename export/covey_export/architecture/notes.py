"""Sentences on a network's layers: what sharing weights saves, small kernels in a row, halving and doubling."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from covey_export.architecture.steps import Step
from covey_reports.language import listing, say

_MAX_SHARING = 3  # convolutions of which it is told what they save
_BETWEEN = ("activation", "normalization")  # kinds of layers that stand between convolutions of one chain


def find(steps: Sequence[Step]) -> list[str]:
    """Sentences about a network, the most general first."""
    return [*_sharing(steps), *_chains(steps), *_halvings(steps)]


def _sharing(steps: Sequence[Step]) -> Iterator[str]:
    # A layer whose map has one place shares nothing: it is a fully connected layer already.
    convolutions = [step for step in steps if step.parameters and step.dense_parameters > 2 * step.parameters]
    for step in convolutions[:_MAX_SHARING]:
        source = steps[step.inputs[0]]
        _, height, width = step.output
        reads = step.multiply_adds // step.numbers
        yield say(
            "{name} has {own:,} parameters. A fully connected layer between the same tensors would have {dense:,}, "
            "{times} times as many: each output reads {reads:,} of {numbers:,} numbers (local connections), and its "
            "weights serve {height} * {width} = {places:,} places (parameter sharing).",
            name=step.name,
            own=step.parameters,
            dense=step.dense_parameters,
            times=_times(step.dense_parameters / step.parameters),
            reads=reads,
            numbers=source.numbers,
            height=height,
            width=width,
            places=height * width,
        )


def _chains(steps: Sequence[Step]) -> Iterator[str]:
    """Two or more convolutions of stride 1 in a row see as much as one large kernel."""
    shapes_seen = set()
    for chain in _find_chains(steps):
        first = chain[0]
        channels, reach = first.output[0], 1 + sum(step.kernel[0] - 1 for step in chain)
        shape = (len(chain), first.kernel, channels)
        if shape in shapes_seen or any(step.output[0] != channels for step in chain):
            continue
        shapes_seen.add(shape)
        # Without the first one, whose inputs may be fewer, the comparison would not hold: all have `channels` inputs.
        small = len(chain) * first.kernel[0] ** 2 * channels**2
        large = reach**2 * channels**2
        yield say(
            "{names}: {count} kernels of {size} in a row see as much as one of {whole}. With {channels} channels in "
            "and out they have {small:,} weights, a {whole} kernel {large:,}.",
            names=listing([step.name for step in chain]),
            count=len(chain),
            size=f"{first.kernel[0]}x{first.kernel[1]}",
            whole=f"{reach}x{reach}",
            channels=channels,
            small=small,
            large=large,
        )


def _find_chains(steps: Sequence[Step]) -> list[list[Step]]:
    """Convolutions of stride 1 with the same kernel, each of which reads the one before it and nothing else."""
    chains: list[list[Step]] = []
    for step in steps:
        if step.kernel[0] != step.kernel[1] or step.kernel[0] < 2 or step.stride != (1, 1):
            continue
        source = steps[step.inputs[0]]
        while source.kind in _BETWEEN and len(source.inputs) == 1:
            source = steps[source.inputs[0]]
        open_chain = next((chain for chain in chains if chain[-1] is source and chain[0].kernel == step.kernel), None)
        if open_chain is None:
            chains.append([step])
        else:
            open_chain.append(step)
    return [chain for chain in chains if len(chain) > 1]


def _halvings(steps: Sequence[Step]) -> Iterator[str]:
    """Where height and width halve and channels double, a layer of the same kernel costs as much as before."""
    convolutions = [step for step in steps if len(step.output) == 3 and step.kernel[0] > 1]
    for before, after in pairwise(convolutions):
        (channels, height, width), (more, lower, narrower) = before.output, after.output
        if more == 2 * channels and lower * 2 in (height, height + 1, height - 1) and lower < height:
            yield say(
                "From {before} to {after} height and width halve ({height} x {width} to {lower} x {narrower}) and "
                "channels double ({channels} to {more}): half as many numbers, and a layer with as many channels in as "
                "out costs the same multiply-adds before and after.",
                before=before.name,
                after=after.name,
                height=height,
                width=width,
                lower=lower,
                narrower=narrower,
                channels=channels,
                more=more,
            )


def _times(factor: float) -> str:
    return f"{factor:,.0f}" if factor >= 10 else f"{factor:.1f}"
