"""Sections of Markdown files for the pages: what was measured and compared stands in one place only."""

import re


def write_section(source, title, target):
    """Write a section of a Markdown file as reStructuredText, without its heading.

    It knows paragraphs, headings, tables, ``code`` and links; those within the project become their text.
    """
    text = source.read_text()
    start = re.search(rf"^(#+) {re.escape(title)}$", text, re.MULTILINE)
    if start is None:
        raise ValueError(f"{source.name} has no section {title!r}")
    level = len(start[1])
    section = re.split(rf"^#{{1,{level}}} ", text[start.end() :], maxsplit=1, flags=re.MULTILINE)[0]
    blocks = [_block(block) for block in section.strip().split("\n\n")]
    target.parent.mkdir(exist_ok=True)
    written = "\n\n".join(blocks) + "\n"
    if not target.exists() or target.read_text() != written:  # a new time stamp builds the page anew
        target.write_text(written)


def _block(block):
    lines = block.splitlines()
    if heading := re.fullmatch("#+ (.*)", block):
        return f".. rubric:: {heading[1]}\n    :heading-level: 3"
    if lines[0].startswith("|"):
        return _table(lines)
    if lines[0].startswith("```"):
        return "::\n\n" + "\n".join(f"    {line}" for line in lines[1:-1])
    if all(line.endswith("  ") for line in lines[:-1]) and len(lines) > 1:
        return "\n".join(f"| {_inline(line.strip())}" for line in lines)
    return _inline(block)


def _table(lines):
    rows = [[_inline(cell.strip()) for cell in line.strip("|").split("|")] for line in lines]
    head, rule, *body = rows
    # roicy.css has these: a table of figures does not break its lines, and aligns columns as the rule says
    right = [f"right-{number}" for number, dashes in enumerate(rule, 1) if dashes.endswith(":")]
    classes = " ".join(["figures", *right] if right else ["features"])
    entries = []
    for row in (head, *body):
        for number, cell in enumerate(row):
            entries.append(f"    {'  ' if number else '* '}- {cell}".rstrip())
    return f".. list-table::\n    :header-rows: 1\n    :class: {classes}\n\n" + "\n".join(entries)


def _inline(text):
    return re.sub(r"\[([^]]*)\]\(([^)]*)\)|`([^`]+)`", _marked, text)


def _marked(match):
    text, address, code = match.groups()
    if code is not None:
        return f"``{code}``"
    return f"`{text.replace('`', '')} <{address}>`__" if address.startswith("https:") else text
