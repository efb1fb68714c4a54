"""Recipes: the set-up of a product, made once and used for every part."""

from genau.recipes.folder import find, names, recipes_folder, remove
from genau.recipes.making import make, remake
from genau.recipes.recipe import Recipe, Reference

__all__ = ["Recipe", "Reference", "find", "make", "names", "recipes_folder", "remake", "remove"]
