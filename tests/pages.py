"""HTML pages as tests read them."""

from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any

from fastapi.testclient import TestClient

Attributes = dict[str, str | None]

VOID = {"br", "col", "hr", "img", "input", "link", "meta"}


@dataclass
class Page(HTMLParser):
    """An HTML page as elements and text. Elements that are not closed, or closed twice, are an error."""

    html: str
    elements: list[tuple[str, Attributes]] = field(default_factory=list)
    texts: list[tuple[list[str], str]] = field(default_factory=list)
    links: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._open: list[str] = []
        self._ids: list[str | None] = []
        self._spans: dict[str, tuple[int, int]] = {}
        self.feed(self.html)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)
            self._ids.append(dict(attrs).get("id"))
            if self._ids[-1] is not None:
                self._spans[self._ids[-1]] = (len(self.texts), 0)

        if tag == "a":
            self._link = (str(dict(attrs)["href"]), len(self.texts))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag
        if (ended := self._ids.pop()) is not None:
            self._spans[ended] = (self._spans[ended][0], len(self.texts))
        if tag == "a":
            address, start = self._link
            self.links["".join(data for _, data in self.texts[start:]).strip()] = address

    def handle_data(self, data: str) -> None:
        self.texts.append((list(self._open), data))

    def all(self, tag: str, **wanted: str) -> list[Attributes]:
        return [found for name, found in self.elements if name == tag and wanted.items() <= found.items()]

    def text(self, tag: str = "body") -> str:
        return " ".join("".join(data for path, data in self.texts if tag in path).split())

    def text_of(self, element_id: str) -> str:
        """The text inside the element with this id."""
        first, last = self._spans[element_id]
        return " ".join("".join(data for _, data in self.texts[first:last]).split())

    def link(self, text: str) -> str | None:
        """The address of the link with this text; None when there is none."""
        return self.links.get(text)

    def ids(self) -> list[int]:
        """The ids of the users, or runs, in the table."""
        rows = [str(found.get("id", "")) for found in self.all("tr")]
        return [int(row.rpartition("-")[2]) for row in rows if row]

    def form(self, name: str) -> Attributes:
        [form] = self.all("form", id=name)
        return form


def open_page(client: TestClient, address: str = "/users/ui", **query: Any) -> Page:
    response = client.get(address, params=query or None)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    return Page(response.text)


def only_our_own(page: Page) -> bool:
    """Whether scripts and images are files of ours, and no script stands in the page."""
    addresses = [str(found.get("src")) for tag in ("script", "img") for found in page.all(tag)]
    return page.text("script") == "" and all(address.startswith("/static/") for address in addresses)
