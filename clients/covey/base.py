"""What Client and AsyncClient have in common: their settings, and the documentation of their methods."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, TypeVar

from covey import channels, forking, inputs, messages, packing, streaming
from covey.coalescing import SharedItem
from covey.connection import DEFAULT_DEADLINE_MS, DEFAULT_TARGET, Deadline, normalised_targets
from covey.errors import InvalidInput
from covey.inputs import EncodedPart, PixelsPart
from covey.messages import ClassifyOptions
from covey.over_http import require_httpx
from covey.packing import Item, ItemT, Room
from covey.results import InputSize
from covey.retries import DEFAULT_RETRIES
from covey.security import TLS, Access, Token, tls_of_scheme
from covey.session import Session
from covey.streaming import Exchange, StreamItem

DEFAULT_IN_FLIGHT = 256
DEFAULT_STREAMED = 1_024  # images of a stream in flight: full requests are under way while the next ones gather

SharedItemT = TypeVar("SharedItemT", bound=SharedItem)


class BaseClient:
    """The settings, checked. Opens no connection."""

    _channels: list[Any]
    _callables: dict[tuple[int, str], Any]

    def __init__(
        self,
        target: str | Sequence[str] = DEFAULT_TARGET,
        *,
        deadline_ms: float = DEFAULT_DEADLINE_MS,
        retries: int = DEFAULT_RETRIES,
        downscale: bool = False,
        coalesce: bool = False,
        tls: TLS | bool | None = None,
        token: Token = "",
    ) -> None:
        if coalesce and downscale:
            raise InvalidInput("coalesce=True and downscale=True do not go together; choose one")
        settings: dict[str, Any] = {
            "target": target,
            "deadline_ms": deadline_ms,
            "retries": retries,
            "downscale": downscale,
            "coalesce": coalesce,
            "tls": tls,
            "token": token,
        }
        self._settings: Callable[[], dict[str, Any]] = lambda: settings  # no representation shows a token
        targets = normalised_targets(target)
        if channels.over_http(targets):
            require_httpx()
        self._access = Access(tls_of_scheme(targets, tls), token)
        self._session = Session(targets, deadline_ms, retries, self._access, downscale=downscale)
        self._closed = False
        self._begin()
        forking.watch(self)

    def _begin(self) -> None:
        """Makes what belongs to one process: channels (none is opened yet), callables and locks."""
        raise NotImplementedError

    def __reduce__(self) -> tuple[Callable[[], BaseClient], tuple[()]]:
        """Pickled are the settings, the token among them: what is unpickled connects anew."""
        return partial(type(self), **self._settings()), ()

    def start_afresh(self) -> None:
        """Done by covey itself in a forked child process: drops what belongs to the parent."""
        forking.abandon((self._channels, self._callables))
        self._session.start_afresh()
        self._begin()

    @property
    def target(self) -> str:
        """The address of the server; of several, separated by commas."""
        return self._session.target

    @property
    def deadline_ms(self) -> float:
        """How long a call may take where it does not say so itself."""
        return self._session.deadline_ms

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.target!r}, deadline_ms={self.deadline_ms:g})"

    def classify(self, *args: Any, **options: Any) -> Any:  # noqa: ANN401 - the clients' own signatures say it
        """Classifies one image, or a list of them, with one model.

        An image is a path, the bytes of an image file, an open file, a PIL image (sent as PNG), or a uint8 NumPy
        array `[H, W]` or `[H, W, C]` of exactly the model's size; all the others are resized by the server.
        One image is answered by a Classification. A list or tuple of images, or one array `[N, H, W, C]`, is
        answered by a list of them in the same order, and travels as one request; as two where it mixes arrays
        with the other kinds, and as more where the server takes no request of that size. `deadline_ms` holds
        for all of them.

        `model` is a name, empty for the server's default model; `version` 0 is the model's default one; `top_k` is how
        many classes to answer per image, by default 5 or all if there are fewer. Of a model with independent labels
        all are answered that reach their threshold, `top_k` of them at the most where it is given. With `embedding`
        each Classification has the image's, of a model that publishes it (`Model.embedding_size`).

        Raises InvalidInput (also a ValueError) where the arguments cannot be sent, CallError where the call
        fails as a whole, an ImageError where a single image cannot be classified. In a list
        that error stands in the image's own Classification, and the others are answered.
        """
        raise NotImplementedError

    def classify_many(self, *args: Any, **options: Any) -> Any:  # noqa: ANN401 - the clients' own signatures say it
        """Classifies an iterable of images of any length; gives an iterator over their answers, in order.

        Images are taken from `images` as answers are read: at most `in_flight` of them, and some 64 MB, are held
        at any time. They are sent in a few requests at once, each of what has gathered while the last were
        under way. `deadline_ms` holds for each request, the other arguments are those of `classify`.

        An image that cannot be read, sent or classified has its error in its own Classification; the others go on.
        Raises CallError at the place of the first image whose request failed, and ends there. What `images` itself
        raises comes after the answers to the images that it gave before.
        """
        raise NotImplementedError

    def classify_stream(self, *args: Any, **options: Any) -> Any:  # noqa: ANN401 - the clients' own signatures say it
        """Classifies an iterable of `(id, image)` of any length through one call; gives an iterator over
        `(id, Classification)`, each as it is ready, in any order. An id is whatever the caller likes; it stays here.

        Images are taken from `items` as answers are read: at most `in_flight` of them, and some 64 MB, are held at
        any time, and the server in turn reads no more than it can hold. `Client` takes them on a thread of its own,
        so that an answer never waits for the next image. `deadline_ms` is the time from sending some images to their
        answers; the other arguments are those of `classify`.

        Where the stream breaks, as when its server is started anew, what was not answered is sent again by another
        one, under the rule of `retries`; streams that brought answers before they broke do not count.

        An image that cannot be read, sent or classified has its error in its own Classification; the others go on.
        Raises CallError for a request that failed, after the answers that are ready by then, and ends there. What
        `items` itself raises comes after the answers to the images that it gave before.
        """
        raise NotImplementedError

    def models(self, *, deadline_ms: float | None = None) -> Any:  # noqa: ANN401
        """Every model the server knows, by name and version; those it refuses to serve, and why, included."""
        raise NotImplementedError

    def model(self, name: str = "", version: int = 0, *, deadline_ms: float | None = None) -> Any:  # noqa: ANN401
        """One model: by default the server's default model, in the version it serves by default.

        Raises UnknownModel where the server does not know it.
        """
        raise NotImplementedError

    def choose(self, *args: Any, **options: Any) -> Any:  # noqa: ANN401 - the clients' own signatures say it
        """Chooses which version of a model answers whom: the server writes it into its models folder, so that restarts
        keep it. Returns once it is in force.

        `action` is "promote" (the version becomes the default one), "rollback" (the canary is taken away if there is
        one, else the default version before comes back; takes no version), "canary" (a share of the callers gets the
        version, until the server's rules decide) or "shadow" (the version computes the same images again); the latter
        two take version 0 for none.

        Raises PermissionDenied where the server was started without --allow-management, UnknownModel where there is no
        such version, ServerError where it cannot be served.
        """
        raise NotImplementedError

    def explain(self, *args: Any, **options: Any) -> Any:  # noqa: ANN401 - the clients' own signatures say it
        """Looks inside a model with one image: its layers, what it saw, and which pixels speak for a class.

        The image is as `classify` takes one. `heat_map` is for the class `class_index`, by default the most probable
        one; `method` is "class_activation" (exact, for networks whose last maps are averaged and followed by one linear
        layer) or "occlusion" (any model), by default the better one that the model allows. `maps` True asks for what
        all layers answer, a list for these layers; `map_channels` for the strongest so many of each, `map_side` is the
        longest side of a map (by default 64, larger ones are averaged down). `unit` `(layer, channel, y, x)` asks for
        the arithmetic of one number.

        Servers explain at the lowest priority, and raise Overloaded (with `retry_after_ms`) while serving needs the
        time. Raises as `classify`, and InvalidRequest where the model has no such layer, class or unit.
        """
        raise NotImplementedError

    def wait_until_ready(self, *, deadline_ms: float | None = None) -> Any:  # noqa: ANN401
        """Returns once a server says that it is ready: it takes requests and serves a model.

        Raises DeadlineExceeded where none did so in time; its text says what the last attempt found.
        """
        raise NotImplementedError

    def _items(self, images: Iterable[object], options: ClassifyOptions, size: InputSize | None) -> Iterator[Item]:
        """The images of `classify_many`, each read as it is asked for."""
        return (self._item(image, options, size, Item) for image in images)

    def _pairs(self, items: Iterable[object], options: ClassifyOptions, size: InputSize | None) -> Iterator[StreamItem]:
        """Those of `classify_stream`, in the same way."""
        return (self._pair(pair, options, size) for pair in items)

    def _pair(self, pair: object, options: ClassifyOptions, size: InputSize | None) -> StreamItem:
        key, image = streaming.key_and_image(pair)
        return self._item(image, options, size, partial(StreamItem, key))

    @staticmethod
    def _item(
        image: object,
        options: ClassifyOptions,
        size: InputSize | None,
        made: Callable[[EncodedPart | PixelsPart, ClassifyOptions], ItemT],
    ) -> ItemT:
        try:
            return made(inputs.read_one(image, size), options)
        except InvalidInput as error:
            return packing.unsent(error, options, made)

    def _exchange(self, items: object, options: ClassifyOptions, deadline_ms: float | None, in_flight: int) -> Exchange:
        """The state of one `classify_stream`. Raises InvalidInput for invalid arguments."""
        streaming.require_iterable(items)
        messages.require_sendable(options)
        return Exchange(Room(in_flight), lambda: self._deadline(deadline_ms), self._session.element_answered)

    def _shared(
        self, kind: type[SharedItemT], images: object, options: ClassifyOptions, deadline_ms: float | None
    ) -> SharedItemT:
        """The image of a call that may travel with others. Raises InvalidInput."""
        return kind(inputs.read_one(images), options, self._deadline(deadline_ms))

    def _deadline(self, deadline_ms: float | None) -> Deadline:
        return self._session.deadline(deadline_ms)
