"""What a training does to its images, and to its learning rate."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from coevo.accuracy.settings import TrainSettings


def rate_at(step: int, steps: int, settings: TrainSettings) -> float:
    """Returns the learning rate of a step as a share of its peak: linear warm-up, then the schedule.

    Source: I. Loshchilov, F. Hutter: SGDR, ICLR 2017, eq. 5 (cosine, without restarts); the warm-up after P. Goyal et
    al.: Accurate, Large Minibatch SGD, 2017, section 2.2.

    Args:
        step: From 0.
        steps: Of the whole training.
        settings: ``schedule`` and ``warm_up``.
    """
    warm_up = max(1, round(settings.warm_up * steps))
    if step < warm_up:
        return (step + 1) / warm_up
    done = (step - warm_up + 1) / (steps - warm_up + 1)
    match settings.schedule:
        case "cosine":
            return 0.5 * (1 + math.cos(math.pi * done))
        case "linear":
            return 1 - done
        case "step":
            return 1.0 if done <= 0.5 else 0.1 if done <= 0.75 else 0.01
        case "constant":
            return 1.0


def shift_and_mirror(images: Tensor, margin: int, mirror: bool, rng: torch.Generator) -> Tensor:
    """Shifts every image at random by up to ``margin`` pixels, zeros entering, and mirrors it or not.

    Args:
        images: ``(batch, channel, height, width)``, normalised, so that 0 is the mean.
        margin: Largest shift along height and width [pixel].
        mirror: Whether half of the images, by chance, are turned left to right.
        rng: A generator on the CPU.

    Returns:
        ``(batch, channel, height, width)``.
    """
    batch, channels, height, width = images.shape
    shifts = torch.randint(0, 2 * margin + 1, (2, batch, 1), generator=rng)
    rows, columns = shifts[0] + torch.arange(height), shifts[1] + torch.arange(width)
    if mirror:
        turned = torch.rand(batch, 1, generator=rng) < 0.5
        columns = torch.where(turned, columns.flip(1), columns)
    padded = functional.pad(images, [margin] * 4)
    # One flat gather: several times faster than an index per axis.
    rows, columns = rows.to(images.device), columns.to(images.device)
    places = (rows[:, :, None] * padded.shape[3] + columns[:, None, :]).view(batch, 1, -1).expand(-1, channels, -1)
    return padded.flatten(2).gather(2, places).view(batch, channels, height, width)


def cut_out(images: Tensor, side: int, rng: torch.Generator) -> Tensor:
    """Blanks a square around a random pixel of every image (T. DeVries, G. Taylor: Cutout, 2017).

    Args:
        images: ``(batch, channel, height, width)``, normalised, so that 0 is the mean.
        side: Of the square, which may reach over the edge [pixel].
        rng: A generator on the CPU.

    Returns:
        ``(batch, channel, height, width)``.
    """
    batch, _, height, width = images.shape
    inside = []
    for size in (height, width):
        centre = torch.randint(0, size, (batch, 1), generator=rng)
        first = centre - side // 2
        place = torch.arange(size)
        inside.append((place >= first) & (place < first + side))
    blank = inside[0][:, None, :, None] & inside[1][:, None, None, :]
    return images.masked_fill(blank.to(images.device), 0.0)
