"""Print the fenced block that follows the comment `<!-- NAME -->` in README.md."""

import re
import sys
from pathlib import Path


def block(name: str) -> str:
    """The commands of the block called `name`."""
    text = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    found = re.search(rf"<!-- {re.escape(name)} -->\n```bash\n(.*?)```", text, re.DOTALL)
    if found is None:
        sys.exit(f"README.md has no block {name!r}.")
    return found.group(1).strip()


if __name__ == "__main__":
    print(block(sys.argv[1]))
