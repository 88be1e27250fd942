"""Sections of README.md for the pages: what was measured stands in one place only."""

import re


def write_section(readme, title, target):
    """Write a section of a Markdown file as reStructuredText, without its heading.

    It knows paragraphs, tables, ``code`` and links, which become their text: what the front page is made of.
    """
    text = readme.read_text()
    start = re.search(rf"^## {re.escape(title)}$", text, re.MULTILINE)
    if start is None:
        raise ValueError(f"{readme.name} has no section {title!r}")
    section = re.split(r"^## ", text[start.end() :], maxsplit=1, flags=re.MULTILINE)[0]
    blocks = [_block(block) for block in section.strip().split("\n\n")]
    target.parent.mkdir(exist_ok=True)
    written = "\n\n".join(blocks) + "\n"
    if not target.exists() or target.read_text() != written:  # a new time stamp builds the page anew
        target.write_text(written)


def _block(block):
    lines = block.splitlines()
    if lines[0].startswith("|"):
        return _table(lines)
    if lines[0].startswith("```"):
        return "::\n\n" + "\n".join(f"    {line}" for line in lines[1:-1])
    if all(line.endswith("  ") for line in lines[:-1]) and len(lines) > 1:
        return "\n".join(f"| {_inline(line.strip())}" for line in lines)
    return _inline(block)


def _table(lines):
    rows = [[_inline(cell.strip()) for cell in line.strip("|").split("|")] for line in lines]
    head, _, *body = rows
    entries = []
    for row in (head, *body):
        for number, cell in enumerate(row):
            entries.append(f"    {'  ' if number else '* '}- {cell}".rstrip())
    return ".. list-table::\n    :header-rows: 1\n    :class: figures\n\n" + "\n".join(entries)


def _inline(text):
    text = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", text)
    text = re.sub(r"(?<!`)`([^`]+)`(?!`)", r"``\1``", text)
    return re.sub(r"(?<![\w*])\*\*([^*]+)\*\*", r"**\1**", text)
