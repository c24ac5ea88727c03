"""Models by name, weights in every layout in use, and the paper's pruning configurations."""

from reconv.zoo.load import load_model
from reconv.zoo.own_input import own_input_size
from reconv.zoo.recipe import Recipe, load_recipe, recipe_numbers
from reconv.zoo.registry import build_model, build_skeleton, canonical_name, model_names
from reconv.zoo.trained import TrainedNet, find_trained, trained_nets, write_trained
from reconv.zoo.weights import fill, read_weights, write_weights

__all__ = [
    "Recipe",
    "TrainedNet",
    "build_model",
    "build_skeleton",
    "canonical_name",
    "fill",
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
