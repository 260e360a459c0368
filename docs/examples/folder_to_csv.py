"""A folder of any size into a table: python folder_to_csv.py FOLDER [HOST:PORT] > answers.csv"""

import csv
import sys
from pathlib import Path

import covey


def main(folder: str, target: str = "localhost:8001") -> None:
    paths = sorted(path for path in Path(folder).rglob("[!.]*") if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
    if not paths:
        sys.exit(f"{folder}: expected a folder with .jpg, .jpeg or .png files, found none")
    writer = csv.writer(sys.stdout, lineterminator="\n")
    with covey.Client(target) as client:
        for path, answer in zip(paths, client.classify_many(paths), strict=True):
            label = answer.error or answer.label  # one bad file does not end the run
            writer.writerow([path.relative_to(folder), label])


if __name__ == "__main__":
    main(*sys.argv[1:])
