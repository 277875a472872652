"""Compares an answer with the sample that a public document shows."""

from typing import Any


def differences(sample: Any, answer: Any, path: str = "$") -> list[str]:
    """What the sample has and the answer lacks or has in another JSON type.

    Numbers may be null (a value that could not be measured); lists are compared by their first
    items, and may be empty in the answer.
    """
    if isinstance(sample, dict):
        if not isinstance(answer, dict):
            return [f"{path}: {answer!r} is not an object"]
        return [
            problem
            for key, value in sample.items()
            for problem in (
                differences(value, answer[key], f"{path}.{key}")
                if key in answer
                else [f"{path}.{key} is missing"]
            )
        ]
    if isinstance(sample, list):
        if not isinstance(answer, list):
            return [f"{path}: {answer!r} is not a list"]
        return differences(sample[0], answer[0], f"{path}[0]") if sample and answer else []
    if isinstance(sample, bool):
        return [] if isinstance(answer, bool) else [f"{path}: {answer!r} is not a boolean"]
    if isinstance(sample, int | float):
        number = isinstance(answer, int | float) and not isinstance(answer, bool)
        return [] if number or answer is None else [f"{path}: {answer!r} is not a number"]
    return [] if isinstance(answer, str) else [f"{path}: {answer!r} is not a string"]
