"""The document as a page to read, without scripts."""

import json
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8881; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto;
padding: 0 1rem; }
h2 { margin-top: 3rem; } code, pre { font: 14px/1.45 ui-monospace, monospace; }
details { border: 1px solid var(--line); border-radius: 6px; margin: .5rem 0;
padding: .4rem .8rem; }
details > details { background: var(--soft); } summary { cursor: pointer; }
summary b { display: inline-block; min-width: 4.5rem; } nav a { margin-right: 1rem; }
table { border-collapse: collapse; width: 100%; } td { border-top: 1px solid var(--line);
padding: .25rem .5rem; vertical-align: top; } td:first-child { white-space: nowrap; }
"""

Node = Mapping[str, Any]


def page(document: Node) -> str:
    """HTML of an OpenAPI document: every operation by tag, then every schema."""
    tags = [tag["name"] for tag in document["tags"]]
    links = "".join(f'<a href="#{_anchor(name)}">{escape(name)}</a>' for name in tags)
    info = document["info"]
    return "".join(
        (
            '<!doctype html><html lang="en"><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escape(info['title'])} API</title><style>{_STYLE}</style>",
            f"<h1>{escape(info['title'])} API {escape(info['version'])}</h1>",
            f"<p>{escape(info['description'])}</p>",
            '<p>For programs: <a href="/openapi.json">openapi.json</a></p>',
            f'<nav>{links}<a href="#schemas">Schemas</a></nav>',
            *(part for tag in document["tags"] for part in _tag(document, tag)),
            '<h2 id="schemas">Schemas</h2>',
            *(_named(*pair) for pair in sorted(document["components"]["schemas"].items())),
            "</html>",
        )
    )


def _named(name: str, schema: Node) -> str:
    head = f'<details id="schema-{escape(name)}"><summary><code>{escape(name)}</code></summary>'
    return f"{head}{_schema(schema)}</details>"


def _tag(document: Node, tag: Node) -> Iterator[str]:
    yield f'<h2 id="{_anchor(tag["name"])}">{escape(tag["name"])}</h2>'
    yield f"<p>{escape(tag['description'])}</p>"
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            if tag["name"] in operation["tags"]:
                yield _operation(path, method, operation)


def _operation(path: str, method: str, operation: Node) -> str:
    parts = [f"<summary><b>{method.upper()}</b> <code>{escape(path)}</code> "]
    parts.append(f"{escape(operation['summary'])}</summary>")
    if said := operation.get("description"):
        parts.append(f"<p>{escape(said)}</p>")
    if parameters := operation.get("parameters"):
        rows = ((f"{one['name']} ({one['in']})", _kind(one["schema"])) for one in parameters)
        parts.append(_table(rows))
    for kind, content in operation.get("requestBody", {}).get("content", {}).items():
        parts.append(f"<p>Body, <code>{escape(kind)}</code>: {_kind(content['schema'])}</p>")
        parts.append(_schema(content["schema"]))
    for status, answer in operation["responses"].items():
        parts.append(f"<p>{escape(status)}: {_answer(answer)}</p>")
    return f"<details>{''.join(parts)}</details>"


def _answer(answer: Node) -> str:
    if "$ref" in answer:
        return _kind({"$ref": f"#/components/schemas/{answer['$ref'].rpartition('/')[2]}"})
    kinds = [_kind(content["schema"]) for content in answer.get("content", {}).values()]
    return " ".join((escape(answer["description"]), *kinds))


def _schema(schema: Node) -> str:
    properties = schema.get("properties")
    said = f"<p>{escape(schema['description'])}</p>" if "description" in schema else ""
    if not properties:
        return said
    needed = schema.get("required", ())
    return said + _table(
        (
            f"{name}{' *' if name in needed else ''}",
            f"{_kind(one)} {escape(one.get('description', ''))}",
        )
        for name, one in properties.items()
    )


def _kind(schema: Node) -> str:
    if "$ref" in schema:
        name = escape(schema["$ref"].rpartition("/")[2])
        return f'<a href="#schema-{name}">{name}</a>'
    if schema.get("type") == "array":
        return f"list of {_kind(schema['items'])}"
    if "enum" in schema:
        return " | ".join(f"<code>{escape(str(word))}</code>" for word in schema["enum"])
    if "const" in schema:
        return f"<code>{escape(json.dumps(schema['const']))}</code>"
    kind = schema.get("type", "any")
    return escape(" or ".join(kind) if isinstance(kind, list) else kind)


def _table(rows: Iterator[tuple[str, str]]) -> str:
    cells = (f"<tr><td><code>{escape(name)}</code><td>{text}" for name, text in rows)
    return f"<table>{''.join(cells)}</table>"


def _anchor(name: str) -> str:
    return escape(name.lower().replace(" ", "-"))
