"""Looking up what a source has for given users: their own records, or some from a pool."""

import contextvars
import time
from bisect import bisect_left
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

from app.errors import ProviderError, ProviderNotFound, ProviderRefused, ProviderUnavailable
from app.providers.collection import name_of, record_id
from app.providers.http import HttpClient
from app.providers.source import KeyedSource, Mapper, Noun, PoolSource, RecordError, Source
from app.records import AddressRecord, Answers, CardRecord, Rejected

_BARREN_PAGES = 2


class Lookup(Protocol):
    """Asks one source for one kind of record, as long as a chunk is worked on."""

    most_at_once: int

    def ask(self, external_ids: Sequence[int], seconds: float) -> Answers:
        """What the source has for some of the users, at least one of them, in about so many seconds.

        Raises ProviderUnavailable when it gives no answer at all, ProviderError when it refuses whoever is asked for.
        """


def open_lookup(http: HttpClient, url: str, source: Source, noun: Noun, *, page_size: int, parallelism: int) -> Lookup:
    """Raises ProviderError when the source has none of these records."""
    mapper = source.mapper(noun)
    if isinstance(source, KeyedSource):
        return _KeyedLookup(http, url, source, mapper, page_size, parallelism)
    if isinstance(source, PoolSource):
        return _PoolLookup(http, url, source, mapper)
    raise TypeError(f"{source.name} is neither keyed nor a pool")


class _PoolLookup:
    def __init__(self, http: HttpClient, url: str, source: PoolSource, mapper: Mapper[Any, Any]) -> None:
        self.most_at_once = source.most_at_once
        self._http, self._url, self._source, self._mapper = http, url, source, mapper

    def ask(self, external_ids: Sequence[int], seconds: float) -> Answers:
        size = min(len(external_ids), self.most_at_once)
        items = self._source.unwrap(
            self._http.get_json(self._url, self._source.draw_params(size), source=self._source.name)
        )
        records: list[AddressRecord | CardRecord] = []
        rejected: list[Rejected] = []
        for item in items[:size]:
            try:
                record = self._mapper.read(item)
            except RecordError as error:
                rejected.append(Rejected(name_of(item), str(error)))
                continue
            if record is not None:
                records.append(record)
        if not records:
            reason = rejected[0].reason if rejected else "it gave none"
            raise ProviderError(f"{self._source.title} gave no record that can be used: {reason}")
        return Answers(records=dict(zip(external_ids, records, strict=False)), rejected=rejected)


class _KeyedLookup:
    def __init__(
        self,
        http: HttpClient,
        url: str,
        source: KeyedSource,
        mapper: Mapper[Any, Any],
        page_size: int,
        parallelism: int,
    ) -> None:
        self.most_at_once = page_size
        self._http, self._url, self._source, self._mapper = http, url, source, mapper
        self._parallelism = parallelism
        # In a collection without gaps that is sorted by id, the record with the id n is number n - 1.
        self._shift = -1
        self._collection_seen = False

    def ask(self, external_ids: Sequence[int], seconds: float) -> Answers:
        deadline = time.monotonic() + seconds
        asked = _Asked()
        alone = self._read_pages(sorted(set(external_ids)), asked, deadline)
        if asked.stopped is None:
            self._read_each(alone, asked, deadline)
        if asked.missing and not asked.records and not self._collection_seen:
            # A wrong address has none of the users either.
            self._read_collection()
        return asked.answers()

    def _read_collection(self) -> None:
        """Asks for nobody in particular. Raises ProviderError when that is answered with no collection."""
        self._source.unwrap(
            self._http.get_json(self._url, self._source.page_params(0, 1, ("id",)), source=self._source.name)
        )
        self._collection_seen = True

    def _stop_if_all_are_refused(self, asked: "_Asked") -> None:
        """What is refused may be one record, or whoever asks: one look at the collection tells."""
        try:
            self._read_collection()
        except ProviderError as error:
            asked.stopped = error

    def _read_pages(self, pending: list[int], asked: "_Asked", deadline: float) -> list[int]:
        """Reads pages where one holds several of the users; returns those to be asked for one by one."""
        alone: list[int] = []
        barren = 0
        while pending and barren < _BARREN_PAGES:
            if time.monotonic() > deadline and asked.answered():
                return alone
            window = pending[: bisect_left(pending, pending[0] + self.most_at_once)]
            if len(window) == 1:
                alone.append(pending.pop(0))
                continue
            items, complete = self._read_page(window, asked)
            if asked.stopped is not None:
                return []
            if complete:
                for external_id in pending:
                    self._note(asked, external_id, items.get(external_id))
                return alone
            found = [external_id for external_id in window if external_id in items]
            for external_id in found:
                self._note(asked, external_id, items[external_id])
            if found:
                barren = 0
                # Users that the page should have held and did not are asked for by their own address.
                alone += [external_id for external_id in window if external_id < found[-1] and external_id not in items]
                pending = pending[bisect_left(pending, found[-1] + 1) :]
            else:
                barren += 1
        return alone + pending

    def _read_page(self, window: list[int], asked: "_Asked") -> tuple[dict[int, Any], bool]:
        """The records, by id, of the page that should hold these users, and whether it is the whole collection."""
        skip = max(0, window[0] + self._shift)
        params = self._source.page_params(skip, window[-1] - window[0] + 1, ("id", *self._mapper.select))
        try:
            page = self._source.unwrap(self._http.get_json(self._url, params, source=self._source.name))
        except ProviderError as error:
            if isinstance(error, ProviderUnavailable) and error.throttled:
                asked.stopped = error
            elif isinstance(error, ProviderRefused):
                self._stop_if_all_are_refused(asked)
            # One bad record can spoil a page for all others on it; asked for one by one they are told apart.
            return {}, False
        self._collection_seen = True
        items = {number: item for item in page.items if (number := record_id(item)) is not None}
        # Where the page begins tells where the next one should; an empty one lies past the end of a collection whose
        # ids do not begin at 1.
        self._shift = skip - min(items) if items else -window[0]
        return items, page.complete

    def _read_each(self, external_ids: list[int], asked: "_Asked", deadline: float) -> None:
        if not external_ids:
            return
        context = contextvars.copy_context()

        def read_here(external_id: int) -> Any:
            """In this thread's context, with its log ids and its span."""
            return context.copy().run(self._read_one, external_id)

        with ThreadPoolExecutor(self._parallelism) as pool:
            for start in range(0, len(external_ids), self._parallelism):
                if asked.answered() and time.monotonic() > deadline:
                    return
                some = external_ids[start : start + self._parallelism]
                refused: dict[int, str] = {}
                for external_id, result in zip(some, pool.map(read_here, some), strict=True):
                    if isinstance(result, ProviderUnavailable):
                        asked.unavailable[external_id] = result
                        asked.stopped = asked.stopped or (result if result.throttled else None)
                    elif isinstance(result, ProviderRefused):
                        refused[external_id] = str(result)
                    elif isinstance(result, ProviderError):
                        asked.bad[external_id] = str(result)
                    else:
                        self._note(asked, external_id, result)
                if refused and asked.stopped is None:
                    self._stop_if_all_are_refused(asked)
                if asked.stopped is None:
                    asked.bad |= refused
                if asked.stopped is not None or not asked.answered():
                    return

    def _read_one(self, external_id: int) -> Any:
        """The record, None when there is none, or the error, which is told apart by the caller."""
        params = self._source.item_params(("id", *self._mapper.select))
        try:
            item = self._http.get_json(f"{self._url}/{external_id}", params, source=self._source.name)
        except ProviderNotFound:
            return None
        except ProviderError as error:
            return error
        if isinstance(item, dict) and record_id(item) != external_id:
            return ProviderError("the answer is not about this user")
        return item

    def _note(self, asked: "_Asked", external_id: int, item: Any) -> None:
        if item is None:
            asked.missing.add(external_id)
            return
        try:
            record = self._mapper.read(item)
        except RecordError as error:
            asked.bad[external_id] = str(error)
            return
        if record is None:
            asked.missing.add(external_id)
        else:
            asked.records[external_id] = record


class _Asked:
    """What has been answered so far.

    stopped: why the source is not to be asked further: it throttles, or refuses whoever is asked for.
    """

    def __init__(self) -> None:
        self.records: dict[int, AddressRecord | CardRecord] = {}
        self.missing: set[int] = set()
        self.bad: dict[int, str] = {}
        self.unavailable: dict[int, ProviderUnavailable] = {}
        self.stopped: ProviderError | None = None

    def answered(self) -> bool:
        return bool(self.records or self.missing or self.bad)

    def answers(self) -> Answers:
        """Raises the source's own error when it gave no answer at all."""
        if not self.answered() and (self.stopped or self.unavailable):
            raise self.stopped or next(iter(self.unavailable.values()))
        failure = self.stopped
        if failure is None:
            self.bad |= {external_id: str(error) for external_id, error in self.unavailable.items()}
            if self.bad and not self.records and not self.missing:
                reason = next(iter(self.bad.values()))
                failure = ProviderError(f"none of {len(self.bad)} answers could be used, the first because: {reason}")
        # When we asked too often, or are refused, that is no fault of the users that were not answered: they are asked
        # for again.
        return Answers(records=self.records, missing=self.missing, bad=self.bad, failure=failure)
