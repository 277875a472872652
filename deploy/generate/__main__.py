"""Writes every generated file: `python -m deploy.generate`."""

from deploy.generate.files import files

for path, text in files().items():
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    print(path)
