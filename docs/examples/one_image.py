"""One image: python one_image.py cat.jpg [HOST:PORT]"""

import sys

import covey


def main(path: str, target: str = "localhost:8001") -> None:
    with covey.Client(target) as client:
        answer = client.classify(path)
        print(f"{answer.label}, {answer.probability:.1%} sure, in {answer.timing.round_trip_us / 1_000:.1f} ms")


if __name__ == "__main__":
    main(*sys.argv[1:])
