"""The data sources: each is a function of keyword options that returns a `Source`."""

from collections.abc import Callable

from vidjax.data.records import Source
from vidjax.data.sources import csv_list, folder, hmdb51, kinetics, mnist, motion, packed, ucf101

SOURCES: dict[str, Callable[..., Source]] = {
    "motion": motion.load,
    "ucf101": ucf101.load,
    "folder": folder.load,
    "csv": csv_list.load,
    "kinetics": kinetics.load,
    "hmdb51": hmdb51.load,
    "mnist": mnist.load,
    "packed": packed.load,
}
