"""New photographs of a web shop, sorted by a network that learned from the shop's own:
python product_classifier.py NEW_PHOTOS [HOST:PORT] > products.csv

Each photograph becomes a row: file, product, probability, and whether somebody should look at it. A file that cannot be
read becomes a row too.
"""

import csv
import sys
from pathlib import Path

import covey

SURE_FROM = 0.8  # below it, a person decides
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")


def main(folder: str, target: str = "localhost:8001") -> None:
    photos = sorted(path for path in Path(folder).rglob("[!.]*") if path.suffix.lower() in SUFFIXES)
    if not photos:
        sys.exit(f"{folder}: expected a folder with photographs ({', '.join(SUFFIXES)}), found none")
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(["file", "product", "probability", "look"])
    with covey.Client(target) as client:
        # Any number of photographs: they are read and sent while answers come, in bounded memory.
        for path, answer in zip(photos, client.classify_many(photos, model="products"), strict=True):
            name = path.relative_to(folder)
            if answer.error:
                print(f"{name}: {answer.error}", file=sys.stderr)
                writer.writerow([name, "", "", "yes"])
                continue
            look = "" if answer.probability >= SURE_FROM else "yes"
            writer.writerow([name, answer.label, f"{answer.probability:.2f}", look])


if __name__ == "__main__":
    main(*sys.argv[1:])
