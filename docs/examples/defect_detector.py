"""Parts on a belt, checked for defects: python defect_detector.py IMAGES [HOST:PORT]

A defect that passes costs more than a good part that somebody looks at. So it is not the more probable class that
decides, but two thresholds on the probability of a defect: below the first a part passes, from the second on it is
rejected, and between them a person decides. The exit code is 0 if all parts passed, 2 if some are left to a person,
else 1 if some were rejected, and 3 if there is no image.

Start the server with --capture captures --capture-below 0.9: it keeps the images that it was unsure of. Label them
(covey label captures/parts), and train on them.
"""

import sys
from pathlib import Path

import covey

PASS_BELOW = 0.1  # of parts just below it, one in ten has a defect; choose both thresholds on labelled images
REJECT_FROM = 0.9
SUFFIXES = (".jpg", ".jpeg", ".png")


def verdict(answer: covey.Classification) -> str:
    """`pass`, `reject`, or `look` for what a person decides."""
    if answer.error:
        return "look"
    defect = next(each.probability for each in answer.classes if each.label == "defect")
    if defect >= REJECT_FROM:
        return "reject"
    return "pass" if defect < PASS_BELOW else "look"


def main(folder: str, target: str = "localhost:8001") -> int:
    images = sorted(path for path in Path(folder).glob("[!.]*") if path.suffix.lower() in SUFFIXES)
    if not images:
        print(f"{folder}: expected a folder with images ({', '.join(SUFFIXES)}), found none", file=sys.stderr)
        return 3
    verdicts = []
    with covey.Client(target) as client:
        for path, answer in zip(images, client.classify_many(images, model="parts", top_k=2), strict=True):
            verdicts.append(verdict(answer))
            print(f"{path.name}: {verdicts[-1]}")
    return 2 if "look" in verdicts else int("reject" in verdicts)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
