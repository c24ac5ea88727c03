"""Models by name, weights in every layout in use, and the paper's pruning configurations."""

from reconv.zoo.load import load_model
from reconv.zoo.recipe import Recipe, load_recipe, recipe_numbers
from reconv.zoo.sources import (
    ModelSource,
    build_model,
    build_skeleton,
    canonical_name,
    find_model,
    model_names,
    own_input_size,
)
from reconv.zoo.trained import TrainedNet, find_trained, trained_nets, write_trained
from reconv.zoo.weights import fill, read_weights, write_weights

__all__ = [
    "ModelSource",
    "Recipe",
    "TrainedNet",
    "build_model",
    "build_skeleton",
    "canonical_name",
    "fill",
    "find_model",
    "find_trained",
    "load_model",
    "load_recipe",
    "model_names",
    "own_input_size",
    "read_weights",
    "recipe_numbers",
    "trained_nets",
    "write_trained",
    "write_weights",
]
