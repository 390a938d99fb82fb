"""What the command lines share: errors become exit codes, words become hyper-parameters."""

import ast
import os
import sys
from collections.abc import Callable, Iterable
from typing import Any


def exit_code(run: Callable[[], int], interrupted: str = "interrupted.") -> int:
    """The exit code of a command: what `run` returns, or 2 and one sentence for bad input."""
    try:
        return run()
    except BrokenPipeError:  # whoever read the output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (ValueError, OSError, RuntimeError) as error:
        print(f"error: {_sentence(error)}", file=sys.stderr)
        return 2
    except MemoryError as error:
        print(f"error: this needs more memory than there is ({error}).", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(interrupted, file=sys.stderr)
        return 130


def hyper(names: Iterable[str], preset: str, words: Iterable[str]) -> list[Any]:
    """Hyper-parameters of each rule, changed by the words of `--hyper` where the rule has them."""
    from regdyn import rules
    from regdyn.checks import choose

    names, changes = tuple(names), pairs("--hyper", words)
    defaults = [rules.resolve(name, preset) for name in names]
    known = {field for name in names for field in rules.RULES[name].hyper._fields}
    for field in changes:
        choose(f"hyper-parameter of {', '.join(names)}", field, sorted(known))
    return [hp._replace(**{k: v for k, v in changes.items() if k in hp._fields}) for hp in defaults]


def process(words: tuple[str, ...]) -> Any:
    """The gradient process that the words of `--gradient` name: its name, then changed fields."""
    from regdyn import gradients
    from regdyn.checks import choose

    if not words:
        raise ValueError("--gradient is empty: give a process, such as low.")
    kind, *changes = words
    choose("gradient process", kind, [name for name in gradients.GRADIENTS if name != "tape"])
    default, fields = gradients.resolve(kind), pairs("--gradient", changes)
    for field in fields:
        choose(f"field of gradient {kind}", field, default._fields)
    return default._replace(**fields)


def pairs(flag: str, words: Iterable[str]) -> dict[str, Any]:
    """`key=value` words as a dictionary; numbers, True and False are read as such."""
    found = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not (key and equals and value):
            raise ValueError(f"{flag} takes words such as lr=1e-2, not {word!r}.")
        if key in found:
            raise ValueError(f"{flag} gives {key} twice.")
        try:
            found[key] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            found[key] = value
    return found


def _sentence(error: Exception) -> str:
    """An error for a person: OSErrors say which file and why."""
    if isinstance(error, OSError) and error.filename is not None:
        return f"cannot write or read {str(error.filename)!r}: {error.strerror}."
    return str(error)
